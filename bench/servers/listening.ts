// How a server under measurement says that it is there: the line that harness/start.ts waits for.

export function sayListening (server: { address: () => unknown }): void {
  console.log(`listening on ${(server.address() as { port: number }).port}`)
}
