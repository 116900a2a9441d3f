// All parts of the service on one page: a Fastify app around a hub and a broker.
import type http from 'node:http'
import cors from '@fastify/cors'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController, type onResponseHookHandler } from 'fastify'
import type { Broker } from './broker/broker.ts'
import type { Certificate } from './certificate.ts'
import type { Config } from './config.ts'
import type { LogCounts } from './log.ts'
import { limitAddresses } from './http/address-rate.ts'
import { auth } from './http/auth.ts'
import { MAX_BODY_BYTES, takeJson } from './http/body.ts'
import { client } from './http/client.ts'
import { trustedProxies } from './http/client-address.ts'
import { compilersFactory } from './http/compilers.ts'
import { watchConnections } from './http/connections.ts'
import { guardDoor } from './http/door.ts'
import { handleErrors } from './http/errors.ts'
import { commonHeaders, corsHeaders } from './http/headers.ts'
import { inbox } from './http/inbox.ts'
import { rateLimits } from './http/limits.ts'
import { describeRoutes } from './http/openapi.ts'
import { ops } from './http/ops.ts'
import { opsServer } from './http/ops-port.ts'
import { publish, type PublishCounts } from './http/publish.ts'
import { Refusals } from './http/refusals.ts'
import { requestOf, withoutChildren } from './http/request-log.ts'
import { retract } from './http/retract.ts'
import { subscribe } from './http/subscribe.ts'
import { tickets } from './http/tickets.ts'
import { clientErrorHandler, frameworkErrorHandler, ignoreExpectations, refuseOptions, refuseUnknownPaths, refuseWithoutHost, rememberPaths } from './http/unrouted.ts'
import { users } from './http/users.ts'
import { why } from './http/why.ts'
import { brokerClock } from './hub/clock.ts'
import { Hub, type HubOptions } from './hub/hub.ts'
import { keepReceipts } from './receipts.ts'
import type { Node } from './tracing.ts'

export interface AppOptions {
  readonly config: Config
  /** Must not be started yet: the app starts it when it is ready, and closes it when the app is closed. */
  readonly broker: Broker
  /** A pino logger. Default: nothing is logged. */
  readonly logger?: FastifyBaseLogger
  /** Counts of failed log writes and lost lines, for the metrics. */
  readonly logCounts?: Readonly<LogCounts>
  /** The value of the `Tidings-Node` header. Default: NODE_NAME. */
  readonly publicName?: string
  /** If set, the node terminates TLS with it. */
  readonly certificate?: Certificate | undefined
}

/** How long a request may take to arrive. */
const REQUEST_TIMEOUT_MS = 60_000
/** How long the headers may take, and before them the TLS handshake (door.ts). Until then the client is unknown. */
const HEAD_TIMEOUT_MS = 20_000
/** How often Node looks for requests that took too long. */
const LOOK_FOR_LATE_MS = 5000

const logRequest: onResponseHookHandler = (request, reply, done) => {
  request.log.debug({ ...requestOf(request), method: request.method, route: request.routeOptions.url, statusCode: reply.statusCode, ms: Math.round(reply.elapsedTime) }, 'request')
  done()
}

/** Fastify has another type for an app with TLS. What we use of the server is the same in both. */
function serverOptions (certificate: Certificate | undefined): { http: http.ServerOptions } {
  const options: http.ServerOptions = {
    // unrouted.ts refuses it in the shape of all errors.
    requireHostHeader: false,
    headersTimeout: HEAD_TIMEOUT_MS,
    connectionsCheckingInterval: LOOK_FOR_LATE_MS
  }
  if (certificate === undefined) return { http: options }
  return { https: { ...options, ...certificate.context } } as unknown as { http: http.ServerOptions }
}

declare module 'fastify' {
  interface FastifyInstance {
    hub: Hub
    /** Set if OPS_PORT is. The caller makes it listen. */
    opsServer: http.Server | undefined
    /** Resolves when the clients have taken the answers that they were given. */
    answersTaken: () => Promise<void>
  }
}

/** How Fastify itself takes connections, requests and JSON. `headers`: those of every answer. */
function newServer ({ config, logger, certificate }: AppOptions, headers: Readonly<Record<string, string>>, refusals: Refusals) {
  const allHeaders = (request: { headers: { origin?: string | undefined } }) => ({ ...headers, ...corsHeaders(request, config.CORS_ORIGINS) })
  return Fastify({
    ...(logger === undefined ? { logger: false } : { loggerInstance: withoutChildren(logger) }),
    // Fastify's own lines contain URLs, which may carry a one-time ticket. We log a line for each stream, and requests
    // at debug.
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: trustedProxies(config.TRUST_PROXY),
    bodyLimit: MAX_BODY_BYTES,
    // The time for a request with its body to arrive. A stream's request has arrived with its headers, so it is not
    // affected.
    requestTimeout: REQUEST_TIMEOUT_MS,
    // A 503 while closing would end an EventSource for good.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 2048 },
    frameworkErrors: frameworkErrorHandler(allHeaders, refusals),
    clientErrorHandler: clientErrorHandler({ headers: allHeaders, refusals, retryMs: config.RETRY_MS }),
    ...serverOptions(certificate),
    // JSON is passed on and never merged into our objects, so these keys are harmless.
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
    schemaController: { compilersFactory }
  }).withTypeProvider<TypeBoxTypeProvider>()
}

function newHub (config: Config, { broker, node, log }: Pick<HubOptions, 'broker' | 'node' | 'log'>): Hub {
  return new Hub({
    broker,
    node,
    heartbeatSeconds: config.HEARTBEAT_SECONDS,
    maxStreamSeconds: config.MAX_STREAM_SECONDS,
    maxStreams: config.MAX_STREAMS,
    maxStreamsPerUser: config.MAX_STREAMS_PER_USER,
    retryMs: config.RETRY_MS,
    expiringSeconds: config.EXPIRING_SECONDS,
    isSingleSession: config.SESSION_POLICY === 'single',
    coalesceMs: config.COALESCE_MS,
    bufferBytes: config.STREAM_BUFFER_BYTES,
    log
  })
}

/**
 * Builds a node. The caller makes it listen. Call `app.hub.drain(ms)` before `app.close()`, so that streams end spread
 * over that time.
 */
export async function buildApp (options: AppOptions): Promise<FastifyInstance> {
  const { config, broker, logger, logCounts = { failedWrites: 0, lostLines: 0 }, publicName = config.NODE_NAME, certificate } = options
  const headers = commonHeaders(publicName, certificate !== undefined)
  const refusals = new Refusals(logger ?? { info: () => {} })
  const app = newServer(options, headers, refusals)

  guardDoor(app.server, {
    isTls: certificate !== undefined,
    hasProxyHeaders: config.PROXY_PROTOCOL === 'on',
    isTrusted: trustedProxies(config.TRUST_PROXY),
    maxPerAddress: config.CONNECTIONS_PER_ADDRESS,
    log: app.log
  })
  const node = { name: config.NODE_NAME }
  const hub = newHub(config, { broker, node, log: app.log })
  takeJson(app)
  app.decorate('hub', hub)
  app.decorate('answersTaken', watchConnections(app, hub))
  app.decorateRequest('principal', null)
  handleErrors(app, refusals)
  const paths = rememberPaths(app)
  ignoreExpectations(app)
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(headers)
    done()
  })
  // After the connections are watched, since it refuses requests.
  app.decorate('opsServer', config.OPS_PORT === undefined ? undefined : opsServer(app))
  if (['debug', 'trace'].includes(app.log.level)) app.addHook('onResponse', logRequest)

  await describeRoutes(app, config)
  if (config.CORS_ORIGINS.length > 0) {
    refuseOptions(app, paths)
    await app.register(cors, {
      origin: config.CORS_ORIGINS,
      credentials: true,
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
      exposedHeaders: ['retry-after', 'tidings-node', 'idempotency-replayed', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset'],
      maxAge: 600
    })
  }
  // After CORS, so that a page can read the refusal.
  limitAddresses(app, {
    perMinute: config.REQUESTS_PER_MINUTE_PER_ADDRESS, isTrusted: trustedProxies(config.TRUST_PROXY), refusals, retryMs: () => hub.retryMs()
  })
  refuseWithoutHost(app)
  refuseUnknownPaths(app, paths)

  await registerRoutes(app, { config, broker, node, refusals, logCounts })

  const endReceipts = keepReceipts({ mode: config.RECEIPTS, node, trail: broker.trail, wallMs: brokerClock(() => broker.state()) })
  app.addHook('onClose', async () => { endReceipts() })
  app.addHook('onReady', async () => { hub.start() })
  // Streams are requests without an end, for which close() would wait for ever.
  app.addHook('preClose', async () => { await hub.close() })
  return app
}

interface RouteParts {
  readonly config: Config
  readonly broker: Broker
  readonly node: Node
  readonly refusals: Refusals
  readonly logCounts: Readonly<LogCounts>
}

async function registerRoutes (app: FastifyInstance, { config, broker, node, refusals, logCounts }: RouteParts): Promise<void> {
  const limits = rateLimits(config, broker)
  await app.register(auth, { config, sessions: broker })
  await app.register(tickets, { broker, limits })
  await app.register(subscribe, { config, hub: app.hub, broker, limits, refusals })
  const publishCounts: PublishCounts = { published: 0 }
  await app.register(publish, { config, node, messages: broker, limit: limits.publish, counts: publishCounts })
  await app.register(retract, { messages: broker, limit: limits.publish })
  await app.register(inbox, { inbox: broker, store: broker, node, limit: limits.inbox })
  await app.register(users, { members: broker, sessions: broker })
  await app.register(why, { trail: broker.trail, receipts: config.RECEIPTS })
  await app.register(client)
  await app.register(ops, { hub: app.hub, broker, refusals, node, logCounts, publishCounts })
}
