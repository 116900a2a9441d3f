// The edge of the process: settings, which broker, listen, and a graceful end.
import { hostname } from 'node:os'
import closeWithGrace from 'close-with-grace'
import pino from 'pino'
import { buildApp } from './app.ts'
import type { Broker } from './broker/broker.ts'
import { MemoryBroker } from './broker/memory/memory.ts'
import { MemoryBus } from './broker/memory/bus.ts'
import { RedisBroker } from './broker/redis/redis.ts'
import { type Config, ConfigError, parseConfig } from './config.ts'

function readConfig (): Config {
  try {
    return parseConfig(process.env, `${hostname()}-${process.pid}`)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    console.error(error.message)
    process.exit(1)
  }
}

const config = readConfig()
/** Under load many lines are one write, and a slow log does not hold the streams up. No line waits longer than this for others. */
const LOG_FLUSH_MS = 100
const logDestination = pino.destination({ dest: 1, sync: false, minLength: 4096, periodicFlush: LOG_FLUSH_MS })
const logger = pino({ level: config.LOG_LEVEL, base: { node: config.NODE_NAME } }, logDestination)
const limits = { historyLength: config.HISTORY_LENGTH, historySeconds: config.HISTORY_SECONDS, maxDataBytes: config.MAX_DATA_BYTES }

function chooseBroker (): Broker {
  const { REDIS_URL: url, REDIS_PREFIX: prefix, NODE_NAME: nodeName } = config
  if (url !== undefined) return new RedisBroker({ url, prefix, nodeName, log: logger, ...limits })
  logger.info('REDIS_URL is not set: embedded broker, this is the only node and its history ends with it')
  return new MemoryBroker(new MemoryBus(limits))
}

const app = await buildApp({ config, broker: chooseBroker(), logger })

/**
 * Connections that may wait to be accepted; the system cuts it to what it allows (net.core.somaxconn). When a node dies, its clients come to
 * the others in one moment: whoever finds the queue full is not told, and knocks again after 1, 3, 7, 15 seconds.
 */
const BACKLOG = 65_535

/** How long a request that is under way may take when the node closes. */
const LAST_REQUESTS_MS = 1000

// The drain has its budget; what the sockets and Redis need after it is short.
const closing = closeWithGrace({ delay: (config.DRAIN_SECONDS + 5) * 1000, logger: false }, async ({ signal, err }) => {
  if (err !== undefined) logger.fatal({ err }, 'unexpected error, closing')
  else logger.info({ signal, streams: app.hub.streams }, 'closing')
  await app.hub.drain(err === undefined ? config.DRAIN_SECONDS * 1000 : 0)
  // Connections without a request, or with half of one, have nothing to wait for; close() would.
  const impatience = setTimeout(() => { app.server.closeAllConnections() }, LAST_REQUESTS_MS)
  await app.close()
  clearTimeout(impatience)
  logger.info('closed')
})

try {
  await app.listen({ host: config.HOST, port: config.PORT, backlog: BACKLOG })
} catch (error) {
  logger.fatal({ err: error }, `cannot listen on ${config.HOST}:${config.PORT}; is the port taken? Set PORT or HOST`)
  closing.uninstall()
  await app.close()
  process.exitCode = 1
}
