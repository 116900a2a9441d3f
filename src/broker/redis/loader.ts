// Loads the function library into a Redis.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { isAlreadyLoaded, isMissing } from './answers.ts'
import type { Entry } from './connection.ts'
import { library, LIBRARY_VERSION, newNonce } from './library.ts'

/** How long one node may take to replace an older library before another node does, and how often the others look. */
const REPLACE_MS = 2000
const LOOK_MS = 50

export interface Loader {
  readonly redis: Redis
  readonly entry: Entry
  /**
   * Called before a library with this nonce may send messages, unless it replaces an older one. What that one sent was
   * dropped, and whoever heard something newer now would not be filled up with it.
   */
  readonly onLoading: (nonce: string) => void
}

/**
 * Loads the library unless this version or a newer one is there: newer ones keep the functions that we call. Returns
 * whether an older one was replaced. Rejects with Redis's own errors.
 */
export async function loadLibrary (loader: Loader): Promise<boolean> {
  const { redis, entry, onLoading } = loader
  const version = await libraryVersion(redis)
  if (version >= LIBRARY_VERSION) return false
  if (version > 0 && !await isFirstToReplace(loader) && await isReplaced(redis)) return true
  const nonce = newNonce()
  const text = library({ nonce, isCluster: entry.place.kind === 'cluster' })
  if (version === 0) onLoading(nonce)
  // Nodes that start together all find no library. The first one loads its own and the others keep that: each
  // replacement would change the nonce, and nodes would drop messages until they learn it.
  const isLoaded = version === 0 && await redis.function('LOAD', text).then(() => true, (error: Error) => {
    if (isAlreadyLoaded(error)) return false
    throw error
  })
  if (!isLoaded && await libraryVersion(redis) < LIBRARY_VERSION) await redis.function('LOAD', 'REPLACE', text)
  return version > 0
}

/**
 * Of nodes that find an older library at the same moment, only one should replace it, because each replacement makes
 * all streams be filled again. They agree by a counter that expires, which older libraries have too. If it cannot be
 * asked, each node replaces the library.
 */
async function isFirstToReplace ({ redis, entry: { lockPrefix } }: Loader): Promise<boolean> {
  if (lockPrefix === undefined) return true
  const asked = redis.fcall('tidings_hit', 1, lockPrefix, `library ${LIBRARY_VERSION}`, REPLACE_MS, 1)
  return await asked.then((reply) => Number((reply as unknown[])[0]) === 1, () => true)
}

async function isReplaced (redis: Redis): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < REPLACE_MS; waitedMs += LOOK_MS) {
    await sleep(LOOK_MS)
    if (await libraryVersion(redis) >= LIBRARY_VERSION) return true
  }
  return false
}

/** 0: no library is loaded, or one without a version. */
async function libraryVersion (redis: Redis): Promise<number> {
  return Number(await redis.fcall_ro('tidings_version', 0).catch((error: Error) => {
    if (isMissing(error)) return 0
    throw error
  }))
}
