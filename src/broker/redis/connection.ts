// Opens connections to Redis; all of a node's connections are made here.
import { isIP } from 'node:net'
import { Redis, type RedisOptions } from 'ioredis'
import type { RedisAddress, RedisPlace } from '../../redis-url.ts'
import { Connector } from './connector.ts'

/** What a node needs to connect to Redis. */
export interface Entry {
  readonly place: RedisPlace
  /** Names the connections in Redis's CLIENT LIST. */
  readonly nodeName: string
  /** The prefix under which nodes agree on who replaces an older library. */
  readonly lockPrefix?: string
  /** How long a command may take. Default 3 seconds. */
  readonly commandTimeoutMs?: number
}

type Options = Omit<RedisOptions, 'replyMapping'>

export const nameOf = ({ host, port }: RedisAddress): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** A permanent connection: it reconnects until it is closed. Commands are not queued while it is disconnected. */
export function openConnection ({ place, nodeName }: Entry, { host, port }: RedisAddress, options: Options): Redis {
  return new Redis({
    host,
    port,
    db: place.database,
    ...(place.username !== '' && { username: place.username }),
    ...(place.password !== '' && { password: place.password }),
    ...(place.isTls && { tls: isIP(host) === 0 ? { servername: host } : {} }),
    Connector,
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // Else it sends CLIENT SETINFO twice: the ACL recipes do not allow that, and Redis 7.0 does not know it.
    disableClientInfo: true,
    connectTimeout: 5000,
    connectionName: `tidings:${nodeName.replace(/[^\x21-\x7e]/g, '_')}`,
    // Jittered, so that a hundred nodes do not reconnect in the same millisecond when Redis is back.
    retryStrategy: (times: number) => Math.min(times * 100, 1000) * (0.5 + Math.random()),
    ...options
  })
}

/**
 * Selects the database. If that fails, the client library only reports it and goes on with database 0, whose data is
 * somebody else's. Rejects with Redis's error.
 */
export async function selectDatabase (redis: Redis, { database }: RedisPlace): Promise<void> {
  if (database !== 0) await redis.select(database)
}

/** Sends one request on a connection of its own. Rejects within 2 × `timeoutMs` if there is no answer. */
export async function askOnce<T> (
  entry: Entry, address: RedisAddress, timeoutMs: number, question: (redis: Redis) => Promise<T>, options: Options = {}
): Promise<T> {
  const redis = openConnection(entry, address, {
    connectTimeout: timeoutMs, commandTimeout: timeoutMs, retryStrategy: () => null, enableReadyCheck: false, ...options
  })
  let reason: Error | undefined
  redis.on('error', (error) => { reason ??= error })
  // A stopped server accepts the connection, and the client library would wait for its greeting for ever.
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
