export function dashboard (): object { return {} }
