// How a node ends: its streams drain, requests that are on their way are answered, and then the app is closed.
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { leavePort } from './listen.ts'

/** How long closing may take after the drain. */
export const AFTER_DRAIN_SECONDS = 5
/** How much of that is left for what is not a request. */
const CLOSING_MS = 1000
/** How long requests that are under way may take after the drain. */
const LAST_REQUESTS_MS = 3000
/**
 * How long, if DRAIN_SECONDS allows, a node that ends is still there for those who do not know of it. Health checks
 * need some seconds to see that it is not ready. And a proxy may send a POST on an idle connection, which it does not
 * repeat if the connection is closed just then. nginx.conf closes idle connections before.
 */
const IDLE_MS = 2500
/** How long a request may be on its way when the node stops listening, on a connection that was opened just then. */
const ON_THE_WAY_MS = 250
const LOOK_EVERY_MS = 50

export interface EndOptions {
  /** DRAIN_SECONDS. */
  readonly drainMs: number
  /** REUSE_PORT. */
  readonly sharesPort: boolean
}

/** Resolves within `drainMs` and AFTER_DRAIN_SECONDS, if the broker and the plugins close within a second. */
export async function endNode (app: FastifyInstance, { drainMs, sharesPort }: EndOptions): Promise<void> {
  const since = performance.now()
  const passedMs = (): number => performance.now() - since
  const idleMs = Math.min(IDLE_MS, drainMs)
  // Other processes on the port get the new connections from now on. No balancer asks this node whether it is ready, so
  // otherwise it would still get its share.
  let left = sharesPort ? leavePort(app) : undefined
  await app.hub.drain(drainMs)
  if (!sharesPort) while (passedMs() < idleMs && await connections(app) > 0) await sleep(LOOK_EVERY_MS)

  left ??= leavePort(app)
  const { empty } = await left
  await Promise.race([empty, sleep(Math.max(idleMs - passedMs(), ON_THE_WAY_MS))])
  const lastMs = Math.min(Math.max(drainMs - passedMs(), LAST_REQUESTS_MS), drainMs + AFTER_DRAIN_SECONDS * 1000 - CLOSING_MS - passedMs())
  await Promise.race([app.answersTaken(), sleep(Math.max(lastMs, 0))])
  // What is open now has no request, or half of one, or a client that does not take its answer.
  for (const server of [app.server, app.opsServer]) server?.closeAllConnections()
  await app.close()
}

async function connections ({ server }: FastifyInstance): Promise<number> {
  return await new Promise((resolve) => { server.getConnections((_error, count) => { resolve(count) }) })
}
