// The function library for Redis: joins its parts, adds a secret nonce, and knows its version.
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'

/** In the order in which they depend on each other. */
const PARTS = [
  'names', 'gone', 'entries', 'publish', 'retract', 'services', 'groups', 'joins', 'sessions', 'logs', 'inbox', 'counts', 'news', 'marks', 'list', 'lost', 'pages', 'history', 'why', 'configure',
  'register', 'directory', 'copies', 'outbox', 'courier', 'old'
] as const

const body = PARTS.map((part) => readFileSync(new URL(`functions/${part}.lua`, import.meta.url), 'utf8')).join('\n')
const versionLine = /^local VERSION = (\d+)$/m

export const LIBRARY_VERSION = Number(versionLine.exec(body)![1])

/** Identifies the text without the version line. A test ties it to the version. */
export const LIBRARY_HASH = createHash('sha256').update(body.replace(versionLine, '')).digest('hex')

/** A secret by which nodes tell messages of the library from what anybody may PUBLISH. */
export function newNonce (): string {
  return randomBytes(16).toString('hex')
}

export interface LibraryOptions {
  readonly nonce?: string
  /** In a Cluster, channels are sharded: they live where their keys are. Default false. */
  readonly isCluster?: boolean
}

/** The text for FUNCTION LOAD. */
export function library ({ nonce = newNonce(), isCluster = false }: LibraryOptions = {}): string {
  return `#!lua name=tidings\nlocal NONCE = '${nonce}'\nlocal PUBLISH, NUMSUB = ${isCluster ? "'SPUBLISH', 'SHARDNUMSUB'" : "'PUBLISH', 'NUMSUB'"}\n${body}`
}
