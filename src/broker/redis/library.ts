// The function library: its parts, joined, with a secret of its own; and which version is newer.
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'

/** In the order in which they need each other. */
const PARTS = [
  'names', 'gone', 'entries', 'publish', 'retract', 'services', 'groups', 'joins', 'sessions', 'logs', 'inbox', 'counts', 'news', 'marks', 'list', 'lost', 'history', 'why', 'configure', 'register',
  'directory', 'copies', 'outbox', 'courier', 'old'
] as const

const body = PARTS.map((part) => readFileSync(new URL(`functions/${part}.lua`, import.meta.url), 'utf8')).join('\n')
const versionLine = /^local VERSION = (\d+)$/m

export const LIBRARY_VERSION = Number(versionLine.exec(body)![1])

/** Names what stands in it, but for the number: a test holds both together. */
export const LIBRARY_HASH = createHash('sha256').update(body.replace(versionLine, '')).digest('hex')

/** Tells what the library sends from what anybody may PUBLISH. */
export function newNonce (): string {
  return randomBytes(16).toString('hex')
}

export interface LibraryOptions {
  readonly nonce?: string
  /** Channels of a Cluster are sharded: they live where their keys do. Default false. */
  readonly isCluster?: boolean
}

/** The whole, to be loaded. */
export function library ({ nonce = newNonce(), isCluster = false }: LibraryOptions = {}): string {
  return `#!lua name=tidings\nlocal NONCE = '${nonce}'\nlocal PUBLISH, NUMSUB = ${isCluster ? "'SPUBLISH', 'SHARDNUMSUB'" : "'PUBLISH', 'NUMSUB'"}\n${body}`
}
