// Packages of this folder's own package.json, installed only when they are needed: unknown to a type check without
// them.

export async function load (name: string): Promise<any> {
  return await import(name)
}
