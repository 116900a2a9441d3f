// The metrics of this adapter: how fast Redis answers, and what waits for it.
import type { Meter } from '../meters.ts'
import type { Links } from './links.ts'

/** In seconds. A Redis nearby answers in less than a millisecond; after three seconds a command is given up. */
export const CALL_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3]

/** The measurements of one prefix. */
export interface Measured {
  /** How long the last check of Redis took. */
  readonly commands: { readonly roundTripSeconds: number }
  /** How many questions were collected but not sent yet. */
  readonly requests: { readonly gathered: Gathered }
}

export interface Gathered {
  readonly publishes: number
  readonly resumes: number
  readonly visits: number
}

/** `parts`: one for each prefix. */
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
