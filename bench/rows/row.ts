// What is compared: a server that can be started, subscribed to and published through, whoever made it.
import type { StreamRequest } from '../harness/crowd.ts'
import type { Scope } from '../../test/fixtures/wait.ts'

/** What every row of every section has. */
export interface Named {
  readonly name: string
  readonly title: string
  readonly kind: 'floor' | 'tidings' | 'peer'
  /** For a row of another checkout: the name of the same row of this one. */
  readonly twin?: string
  /** Why it cannot be measured here, with what to do about it; undefined if it can. */
  readonly absent: () => string | undefined
}

export interface Row extends Named {
  readonly start: (scope: Scope, options: StartOptions) => Promise<Running>
}

export interface StartOptions {
  /** How many streams will come, for servers whose limits must be set. */
  readonly streams: number
  /** Writes a CPU profile of each server process into this folder (Node only). */
  readonly profileFolder?: string | undefined
}

export interface Running {
  /** What stream `i` asks for. */
  readonly request: (i: number) => StreamRequest
  readonly liveOn: 'sync' | 'head'
  /** Sends one payload to every stream. Does not wait. */
  readonly publish: (json: string) => void
  /** Throws if publishing has failed. */
  readonly check: () => void
  /** The processes that deliver; their CPU is the result. */
  readonly servers: () => number[]
  /** Others that take part, shown by themselves: redis, nginx. */
  readonly others: Readonly<Record<string, () => number[]>>
  /** Connections under way at a time while the streams are opened, where 200 are too many. */
  readonly openAtOnce?: number
  /** Asks the server to collect its garbage, where that is known. */
  readonly settle?: () => void
  /** Bytes that the servers' heaps were given since it was last asked, where that is counted. */
  readonly allocated?: () => Promise<number>
  /** Bytes in use in the servers' heaps, buffers included, as they last settled. */
  readonly kept?: () => number
}
