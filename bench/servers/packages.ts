// Packages of the bench's own package.json, which is installed only when it is needed: unknown to a type check without them.

export async function load (name: string): Promise<any> {
  return await import(name)
}

/** How a server under measurement says that it is there. */
export function sayListening (server: { address: () => unknown }): void {
  console.log(`listening on ${(server.address() as { port: number }).port}`)
}
