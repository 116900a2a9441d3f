// One connection to one Redis, as every one of a node is made.
import { isIP } from 'node:net'
import { Redis, type RedisOptions } from 'ioredis'
import type { RedisAddress, RedisPlace } from '../../redis-url.ts'

/** How a node gets into the Redis of a place. */
export interface Entry {
  readonly place: RedisPlace
  /** Names the connections in Redis's CLIENT LIST. */
  readonly nodeName: string
  /** Under it nodes agree on which of them replaces an older library. */
  readonly lockPrefix?: string
}

type Options = Omit<RedisOptions, 'replyMapping'>

export const nameOf = ({ host, port }: RedisAddress): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** One that stays: it is tried again until it is closed. Nothing waits in it while there is no line. */
export function openConnection ({ place, nodeName }: Entry, { host, port }: RedisAddress, options: Options): Redis {
  return new Redis({
    host,
    port,
    db: place.database,
    ...(place.username !== '' && { username: place.username }),
    ...(place.password !== '' && { password: place.password }),
    ...(place.isTls && { tls: isIP(host) === 0 ? { servername: host } : {} }),
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    connectTimeout: 5000,
    connectionName: `tidings:${nodeName.replace(/[^\x21-\x7e]/g, '_')}`,
    // Spread out, so that a hundred nodes do not knock in the same millisecond when Redis is back.
    retryStrategy: (times: number) => Math.min(times * 100, 1000) * (0.5 + Math.random()),
    ...options
  })
}

/**
 * Where a database may not be selected the client library says so, and goes on in database 0, whose data is somebody
 * else's. Rejects with Redis's error.
 */
export async function selectDatabase (redis: Redis, { database }: RedisPlace): Promise<void> {
  if (database !== 0) await redis.select(database)
}

/** Asks one question on a connection of its own. Rejects within a few seconds if there is no answer. */
export async function askOnce<T> (
  entry: Entry, address: RedisAddress, timeoutMs: number, question: (redis: Redis) => Promise<T>, options: Options = {}
): Promise<T> {
  const redis = openConnection(entry, address, {
    connectTimeout: timeoutMs, commandTimeout: timeoutMs, retryStrategy: () => null, enableReadyCheck: false, ...options
  })
  let reason: Error | undefined
  redis.on('error', (error) => { reason ??= error })
  // A server that is stopped takes the connection, and the client library would wait for its greeting.
  const impatience = setTimeout(() => { redis.disconnect() }, 2 * timeoutMs)
  try {
    await redis.connect()
    return await question(redis)
  } catch (error) {
    throw reason ?? error
  } finally {
    clearTimeout(impatience)
    redis.disconnect()
  }
}
