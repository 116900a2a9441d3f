// What a run was asked for, once the command line is read (command.ts).
import type { Client } from './harness/crowd.ts'

export interface Options {
  /** Names of sections. */
  readonly only: readonly string[]
  readonly peers: readonly string[]
  /** Names of our own rows; undefined: all. */
  readonly rows: readonly string[] | undefined
  /** Folder of another checkout, whose nodes are measured in turn with ours. */
  readonly against: string | undefined
  readonly streams: number | undefined
  readonly seconds: number | undefined
  readonly rounds: number | undefined
  readonly rate: number | undefined
  readonly churn: number | undefined
  readonly client: Client
  readonly smoke: boolean
  readonly install: boolean
  readonly json: string | undefined
  readonly profile: string | undefined
  /** Settings of the service that its nodes get, by name. */
  readonly settings: Readonly<Record<string, string>>
  /** The options that were typed, without dashes. */
  readonly given: readonly string[]
}

/** A message for whoever typed the command. */
export class UsageError extends Error {}
