// What this adapter tells of itself: how Redis answers, and what waits for it.
import type { Meter } from '../meters.ts'
import type { Links } from './links.ts'

/** Seconds. Below a millisecond is an answer of a Redis nearby; at three seconds a command is given up. */
export const CALL_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3]

/** What one prefix knows. */
export interface Measured {
  /** How long the last look at Redis took. */
  readonly commands: { readonly roundTripSeconds: number }
  /** Questions that are gathered and not asked yet. */
  readonly requests: { readonly gathered: Gathered }
}

export interface Gathered {
  readonly publishes: number
  readonly resumes: number
  readonly visits: number
}

/** `parts`: of all prefixes. */
export function metersOf (links: Links, parts: readonly Measured[]): Meter[] {
  const sum = (what: keyof Gathered): number => parts.reduce((sum, { requests }) => sum + requests.gathered[what], 0)
  return [
    {
      kind: 'gauge',
      name: 'tidings_redis_round_trip_seconds',
      help: 'Duration of the last round trip to Redis; with several partitions the longest',
      read: () => Math.max(...parts.map(({ commands }) => commands.roundTripSeconds))
    },
    { kind: 'gauge', name: 'tidings_redis_memory_used_ratio', help: 'Share of its maxmemory that Redis has used; 0: no limit, or not known', read: () => links.memoryUsed },
    { kind: 'gauge', name: 'tidings_redis_calls_waiting', help: 'Commands that were sent to Redis and are not answered yet', read: () => links.waiting },
    {
      kind: 'gauge',
      name: 'tidings_redis_gathered',
      help: 'Requests that wait for the next call to Redis, by kind',
      label: 'kind',
      read: () => ({ publishes: sum('publishes'), resumes: sum('resumes'), visits: sum('visits') })
    },
    { kind: 'histogram', name: 'tidings_redis_call_seconds', help: 'Time from sending a command to Redis until its answer', spread: links.times }
  ]
}
