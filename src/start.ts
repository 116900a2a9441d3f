// Runs a node: reads the settings, chooses the broker, listens, and closes gracefully.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type https from 'node:https'
import { hostname } from 'node:os'
import closeWithGrace from 'close-with-grace'
import pino, { type Logger } from 'pino'
import { buildApp } from './app.ts'
import type { Broker } from './broker/broker.ts'
import { MemoryBroker } from './broker/memory/memory.ts'
import { MemoryBus } from './broker/memory/bus.ts'
import { PartitionedBroker } from './broker/redis/partitions/partitions.ts'
import { RedisBroker } from './broker/redis/redis.ts'
import { Certificate } from './certificate.ts'
import { type Config, ConfigError, configSchema, historyLimits, parseConfig } from './config.ts'
import { AFTER_DRAIN_SECONDS, endNode } from './end.ts'
import { listen, listenAdvice } from './listen.ts'
import { LogDestination } from './log.ts'
import { MEMORY_URL, parseRedisUrl } from './redis-url.ts'
import { readOtelSettings } from './otel-settings.ts'
import { version } from './version.ts'
import { type UnknownSetting, unknownSettings } from './unknown-settings.ts'

/**
 * How long a node waits for its broker before it listens. Once it listens, a balancer may send it requests, which it
 * would have to refuse.
 */
const PATIENCE_MS = 3000

/**
 * A terminal sends one Ctrl-C to npm and to the node, and npm sends it to the node, too. Later, Ctrl-C comes from
 * somebody who does not want to wait.
 */
const ONE_CTRL_C_MS = 1000

const NAME_BY_DEFAULT = `${hostname()}-${process.pid}`

function readConfig (): Config {
  try {
    return parseConfig(process.env, NAME_BY_DEFAULT)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    console.error(error.message)
    // A misspelt name may be why another one is missing.
    for (const { name, nearest } of misspelt()) console.error(`  - ${name} is not a setting and has no effect; did you mean ${nearest}?`)
    process.exit(1)
  }
}

const misspelt = (): UnknownSetting[] => unknownSettings(process.env, Object.keys(configSchema.properties))

function chooseBroker (config: Config, log: Logger): Broker {
  const { REDIS_URL: url, REDIS_PREFIX: prefix, NODE_NAME: nodeName, REDIS_PARTITIONS: partitions } = config
  const limits = historyLimits(config)
  if (url !== undefined && url !== MEMORY_URL) {
    const options = { url, prefix, nodeName, log, ...limits }
    // In a Cluster all keys of a partition must share one slot, so even one partition has a prefix with a tag.
    return partitions === 1 && parseRedisUrl(url).kind !== 'cluster' ? new RedisBroker(options) : new PartitionedBroker({ ...options, partitions })
  }
  const why = url === undefined ? 'REDIS_URL is not set' : `REDIS_URL is ${MEMORY_URL}`
  log.warn(`${why}, so the broker is embedded: this is the only node, and its history ends with it`)
  if (partitions > 1) log.warn(`REDIS_PARTITIONS=${partitions} has no effect without Redis`)
  return new MemoryBroker(new MemoryBus(limits))
}

/** Resolves when the node listens. `takeSignals` is called with what SIGTERM and SIGINT do from then on. */
export async function start (takeSignals: (listener: (signal: NodeJS.Signals) => void) => void): Promise<void> {
  const config = readConfig()
  // Touching process.stdout makes a pipe or socket non-blocking, so that a stalled reader does not block one of our
  // threads.
  const destination = new LogDestination(process.stdout.fd)
  process.on('exit', () => { destination.flushSync() })
  const log = pino({ level: config.LOG_LEVEL, base: { node: config.NODE_NAME } }, destination)
  for (const { name, nearest } of misspelt()) {
    log.warn({ setting: name, nearest }, `${name} is not a setting and has no effect; did you mean ${nearest}?`)
  }
  // Not which: there may be a secret among them.
  if (process.argv.length > 2) log.warn('a node takes no arguments, and those that it was given have no effect; settings are environment variables')

  // The default name has the host name and the process id, which are not shown outside. The log has both names.
  const publicName = config.NODE_NAME === NAME_BY_DEFAULT ? createHash('sha256').update(NAME_BY_DEFAULT).digest('base64url').slice(0, 8) : config.NODE_NAME
  log.info({ publicName }, 'starting')
  // Why a node does not start is said even if LOG_LEVEL is silent.
  const logger = log.isLevelEnabled('fatal') ? log : pino({ level: 'fatal', base: { node: config.NODE_NAME } }, destination)
  const broker = chooseBroker(config, log)
  // The exporter reads them itself, and not all without blanks around.
  for (const name of Object.keys(process.env)) if (name.startsWith('OTEL_')) process.env[name] = process.env[name]!.trim()
  const otel = readOtelSettings(process.env, (text) => { log.warn(`OpenTelemetry: ${text}`) })
  // OpenTelemetry is large, so it is loaded only if traces are wanted.
  // eslint-disable-next-line no-restricted-syntax
  const spans = otel && (await import('./spans.ts')).startSpans({
    settings: otel, node: { name: config.NODE_NAME }, version, addressOf: (channel) => broker.addressOf(channel), log
  })
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile } = config
  const certificate = certFile !== undefined && keyFile !== undefined ? new Certificate({ certFile, keyFile }) : undefined
  const app = await buildApp({ config, broker, logger: log, logCounts: destination.counts, publicName, certificate })

  let closingSince: number | undefined
  let endedBy: NodeJS.Signals | undefined
  const ending = new AbortController()
  certificate?.follow(app.server as unknown as https.Server, log, { signal: ending.signal })
  const drainMs = config.DRAIN_SECONDS * 1000
  const onTimeout = (): void => { log.fatal('closing took too long, cut off; report it, with the log since "closing"') }
  const closing = closeWithGrace({
    delay: drainMs + AFTER_DRAIN_SECONDS * 1000, logger: false, skip: ['SIGHUP', 'SIGTERM', 'SIGINT'], onTimeout
  }, async ({ signal = endedBy, err }) => {
    closingSince = performance.now()
    if (err !== undefined) log.fatal({ err }, 'unexpected error, closing; report it, with the stack')
    else log.info({ signal, streams: app.hub.streams }, 'closing')
    ending.abort()
    try {
      await endNode(app, { drainMs: err === undefined ? drainMs : 0, sharesPort: config.REUSE_PORT === 'on' })
      await spans?.close()
      log.info('closed')
    } catch (error) {
      log.fatal({ err: error }, 'unexpected error while closing; report it, with the stack')
      throw error
    }
    // exit() would wait for a thread that is blocked by a dead disk or a stopped terminal.
    if (!await destination.settle()) process.kill(process.pid, 'SIGKILL')
  })
  takeSignals((signal) => {
    // npm passes SIGTERM on to the node, and systemd sends it to all processes of a service. So a node may get it
    // several times, which must not cut the drain short. Ctrl-C twice does.
    if (closingSince === undefined) {
      endedBy = signal
      void closing.close()
    } else if (signal === 'SIGINT' && performance.now() - closingSince > ONE_CTRL_C_MS) {
      process.exit(1)
    }
  })
  const giveUp = async (): Promise<void> => {
    closing.uninstall()
    takeSignals(() => { process.exit(1) })
    await app.close()
    process.exitCode = 1
  }
  process.on('SIGHUP', () => {
    log.info('SIGHUP: settings are read when a node starts; of them nothing was changed')
    certificate?.look()
  })

  try {
    await app.ready()
    if (closingSince === undefined) await Promise.race([broker.settled, once(AbortSignal.any([ending.signal, AbortSignal.timeout(PATIENCE_MS)]), 'abort')])
    if (closingSince !== undefined) return
    if (broker.state().isRefused === true) {
      logger.fatal(`cannot start: ${broker.state().detail}`)
      await giveUp()
      return
    }
    await listen(app, { host: config.HOST, port: config.PORT, sharesPort: config.REUSE_PORT === 'on', opsPort: config.OPS_PORT })
    // Its clients come back to a node that is right.
    void broker.refused?.then(() => {
      if (closingSince !== undefined) return
      logger.fatal(`cannot go on: ${broker.state().detail}`)
      // Nobody asked it to end. With 0, supervisors that restart what failed would leave it.
      process.once('exit', () => { process.exitCode = 1 })
      void closing.close()
    })
  } catch (error) {
    if (closingSince !== undefined) return
    const { code, port = config.PORT } = error as NodeJS.ErrnoException & { port?: number }
    logger.fatal({ err: error }, `cannot listen on ${config.HOST}:${port}; ${listenAdvice(code)}`)
    await giveUp()
  }
}
