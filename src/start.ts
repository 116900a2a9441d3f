// Runs a node: reads the settings, chooses the broker, listens, and closes gracefully.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type https from 'node:https'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import pino, { type Logger } from 'pino'
import { buildApp } from './app.ts'
import type { Broker } from './broker/broker.ts'
import { MemoryBroker } from './broker/memory/memory.ts'
import { MemoryBus } from './broker/memory/bus.ts'
import { PartitionedBroker } from './broker/redis/partitions/partitions.ts'
import { RedisBroker } from './broker/redis/redis.ts'
import { Certificate } from './certificate.ts'
import { type Config, ConfigError, configSchema, historyLimits, parseConfig } from './config.ts'
import { leavePort, listen } from './listen.ts'
import { LogDestination } from './log.ts'
import { MEMORY_URL, parseRedisUrl } from './redis-url.ts'
import { readOtelSettings } from './otel-settings.ts'
import { version } from './version.ts'
import { unknownSettings } from './unknown-settings.ts'

/** How long unfinished requests may take when the node closes. */
const LAST_REQUESTS_MS = 3000

/**
 * How long after SIGTERM an idle connection can still bring a request, if DRAIN_SECONDS allows. A proxy cannot know
 * that the node is about to close it, and does not send a POST a second time. nginx.conf closes idle ones before.
 */
const IDLE_MS = 2500

/** How long a request may be on its way when the node stops listening, on a connection that was opened just then. */
const ON_THE_WAY_MS = 250

/**
 * How long a node waits for its broker before it listens. Once it listens, a balancer may send it requests, which it
 * would have to refuse.
 */
const PATIENCE_MS = 3000

/** How long closing may take after the drain. */
const AFTER_DRAIN_SECONDS = 5

/** How much of that is left for what is not a request. */
const CLOSING_MS = 1000

const NAME_BY_DEFAULT = `${hostname()}-${process.pid}`

function readConfig (): Config {
  try {
    return parseConfig(process.env, NAME_BY_DEFAULT)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    console.error(error.message)
    process.exit(1)
  }
}

function chooseBroker (config: Config, log: Logger): Broker {
  const { REDIS_URL: url, REDIS_PREFIX: prefix, NODE_NAME: nodeName, REDIS_PARTITIONS: partitions } = config
  const limits = historyLimits(config)
  if (url !== undefined && url !== MEMORY_URL) {
    const options = { url, prefix, nodeName, log, ...limits }
    // In a Cluster all keys of a partition must share one slot, so even one partition has a prefix with a tag.
    return partitions === 1 && parseRedisUrl(url).kind !== 'cluster' ? new RedisBroker(options) : new PartitionedBroker({ ...options, partitions })
  }
  const why = url === undefined ? 'REDIS_URL is not set' : `REDIS_URL is ${MEMORY_URL}`
  log.warn(`${why}: embedded broker, this is the only node and its history ends with it`)
  if (partitions > 1) log.warn(`REDIS_PARTITIONS=${partitions} has no effect without Redis`)
  return new MemoryBroker(new MemoryBus(limits))
}

/** Resolves when the node listens. `onGraceful` is called once signals are handled here, by draining. */
export async function start (onGraceful: () => void): Promise<void> {
  const config = readConfig()
  // Touching process.stdout makes a pipe or socket non-blocking, so that a stalled reader does not block one of our
  // threads.
  const destination = new LogDestination(process.stdout.fd)
  process.on('exit', () => { destination.flushSync() })
  const log = pino({ level: config.LOG_LEVEL, base: { node: config.NODE_NAME } }, destination)
  for (const { name, nearest } of unknownSettings(process.env, Object.keys(configSchema.properties))) {
    log.warn({ setting: name, nearest }, `${name} is not a setting and has no effect; did you mean ${nearest}?`)
  }

  // The default name has the host name and the process id, which are not shown outside. The log has both names.
  const publicName = config.NODE_NAME === NAME_BY_DEFAULT ? createHash('sha256').update(NAME_BY_DEFAULT).digest('base64url').slice(0, 8) : config.NODE_NAME
  log.info({ publicName }, 'starting')
  const broker = chooseBroker(config, log)
  const otel = readOtelSettings(process.env, (text) => { log.warn(`OpenTelemetry: ${text}`) })
  // OpenTelemetry is large, so it is loaded only if traces are wanted.
  // eslint-disable-next-line no-restricted-syntax
  const spans = otel && (await import('./spans.ts')).startSpans({
    settings: otel, node: { name: config.NODE_NAME }, version, addressOf: (channel) => broker.addressOf(channel), log
  })
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile } = config
  const certificate = certFile !== undefined && keyFile !== undefined ? new Certificate({ certFile, keyFile }) : undefined
  const app = await buildApp({ config, broker, logger: log, logCounts: destination.counts, publicName, certificate })

  let isClosing = false
  const ending = new AbortController()
  certificate?.follow(app.server as unknown as https.Server, log, { signal: ending.signal })
  const closing = closeWithGrace({ delay: (config.DRAIN_SECONDS + AFTER_DRAIN_SECONDS) * 1000, logger: false, skip: ['SIGHUP'] }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'unexpected error, closing; report it, with the stack')
    else log.info({ signal, streams: app.hub.streams }, 'closing')
    isClosing = true
    ending.abort()
    await endRequests(app, { drainMs: err === undefined ? config.DRAIN_SECONDS * 1000 : 0, sharesPort: config.REUSE_PORT === 'on' })
    await spans?.close()
    log.info('closed')
    // exit() would wait for a thread that is blocked by a dead disk or a stopped terminal.
    if (!await destination.settle()) process.kill(process.pid, 'SIGKILL')
  })
  onGraceful()
  process.on('SIGHUP', () => {
    log.info('SIGHUP: settings are read when a node starts; of them nothing was changed')
    certificate?.look()
  })

  try {
    await app.ready()
    if (!isClosing) await Promise.race([broker.settled, once(AbortSignal.any([ending.signal, AbortSignal.timeout(PATIENCE_MS)]), 'abort')])
    if (isClosing) return
    if (broker.state().isRefused === true) {
      log.fatal(`cannot start: ${broker.state().detail}`)
      closing.uninstall()
      await app.close()
      process.exitCode = 1
      return
    }
    await listen(app, { host: config.HOST, port: config.PORT, sharesPort: config.REUSE_PORT === 'on', opsPort: config.OPS_PORT })
  } catch (error) {
    const { port = config.PORT } = error as NodeJS.ErrnoException & { port?: number }
    log.fatal({ err: error }, `cannot listen on ${config.HOST}:${port}; is the port taken? Set PORT, OPS_PORT or HOST`)
    closing.uninstall()
    await app.close()
    process.exitCode = 1
  }
}

/**
 * Drains the streams, answers the requests that are still on their way, waits until the clients have taken their
 * answers, and closes the app.
 */
async function endRequests (app: FastifyInstance, { drainMs, sharesPort }: { readonly drainMs: number, readonly sharesPort: boolean }): Promise<void> {
  const since = performance.now()
  // If other processes listen on the port, they get the new connections from now on. No balancer asks this node whether
  // it is ready, so otherwise it would still get its share.
  let isEmpty = sharesPort ? leavePort(app) : undefined
  await app.hub.drain(drainMs)
  // The node has listened until here, since a balancer may need some seconds to see that it is not ready.
  isEmpty ??= leavePort(app)
  const passedMs = (): number => performance.now() - since
  await Promise.race([isEmpty, sleep(Math.max(Math.min(IDLE_MS, drainMs) - passedMs(), ON_THE_WAY_MS))])

  const cutAll = (): void => { for (const server of [app.server, app.opsServer]) server?.closeAllConnections() }
  const leftMs = (): number => Math.max(0, drainMs + AFTER_DRAIN_SECONDS * 1000 - CLOSING_MS - passedMs())
  const cut = setTimeout(cutAll, Math.min(Math.max(drainMs - passedMs(), LAST_REQUESTS_MS), leftMs()))
  await app.answersTaken()
  clearTimeout(cut)
  // Ends connections with no request or half of one, for which close() would wait.
  const impatience = setTimeout(cutAll, Math.min(LAST_REQUESTS_MS, leftMs()))
  await app.close()
  clearTimeout(impatience)
}
