// The demo: two nodes of the same code on one embedded broker in one process, tokens minted, and a page to look at
import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { styleText } from 'node:util'
import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import pino from 'pino'
import { buildApp } from '../src/app.ts'
import { MemoryBroker } from '../src/broker/memory/memory.ts'
import { MemoryBus } from '../src/broker/memory/bus.ts'
import { readCommandLine } from '../scripts/command-line.ts'
import { type Config, ConfigError, historyLimits, parseConfig } from '../src/config.ts'
import { demoPage } from './page.ts'
import { demoText } from './text.ts'

const usage = `Usage: [PORT=4000] [LOG_LEVEL=info] npm run demo

Starts two nodes in one process, on PORT (3000) and the port after it, and prints what to open and to type.
PORT=0 takes free ones. Ctrl+C ends it.`

const USERS = [
  { id: 'alice', name: 'Alice', groups: ['Complaints', 'Sales'], node: 0 },
  { id: 'bob', name: 'Bob', groups: ['Complaints'], node: 1 }
]
const GROUPS = ['Complaints', 'Sales']
/** How long a request that is under way may take when the demo ends. */
const LAST_REQUESTS_MS = 500

readCommandLine(usage, {})
const basePort = process.env['PORT'] || '3000'
const secret = randomBytes(32).toString('hex')
const nodes: FastifyInstance[] = []

/** Nothing of the environment but PORT and LOG_LEVEL counts: the demo is the same on every machine. */
function configOf (name: string, port: string, corsOrigins: string[] = []): Config {
  return parseConfig({
    PORT: port,
    JWT_SECRET: secret,
    CORS_ORIGINS: corsOrigins.join(),
    HEARTBEAT_SECONDS: '5', // often enough to watch
    LOG_LEVEL: process.env['LOG_LEVEL'] ?? 'warn'
  }, name)
}

async function startNode (config: Config, bus: MemoryBus, prepare: (app: FastifyInstance) => void): Promise<FastifyInstance> {
  const logger = pino({ level: config.LOG_LEVEL, base: { node: config.NODE_NAME } })
  const app = await buildApp({ config, broker: new MemoryBroker(bus), logger })
  nodes.push(app)
  prepare(app)
  await app.listen({ host: config.HOST, port: config.PORT })
  return app
}

const portOf = (app: FastifyInstance): number => (app.server.address() as AddressInfo).port
const originOf = (app: FastifyInstance): string => `http://127.0.0.1:${portOf(app)}`

async function start (): Promise<string> {
  const config = configOf('node-1', basePort)
  const bus = new MemoryBus(historyLimits(config))

  let users: Array<typeof USERS[number] & { token: string }> = []
  let publisherToken = ''
  const first = await startNode(config, bus, (app) => {
    // As long as any run: a demo that was left open for days works still.
    const mint = (claims: object) => app.jwt.sign(claims, { expiresIn: '365d' })
    // Minted once: a newer token would claim the groups again that a visitor has left
    users = USERS.map((user) => ({ ...user, token: mint({ sub: user.id, groups: user.groups }) }))
    publisherToken = mint({ sub: 'publisher', scope: 'notifications:publish notifications:manage' })
    app.register(demoPage, { users, groups: GROUPS, publisherToken, ports: () => nodes.map(portOf) })
  })

  const pageOrigins = ['localhost', '127.0.0.1'].map((hostname) => new URL(`http://${hostname}:${portOf(first)}`).origin)
  await startNode(configOf('node-2', String(config.PORT && config.PORT + 1), pageOrigins), bus, (app) => {
    app.get('/', { schema: { hide: true } }, async (_request, reply) => reply.redirect(`${originOf(first)}/`))
  })

  return demoText({
    origins: nodes.map(originOf),
    users,
    publisherToken,
    dim: (text) => styleText('dim', text),
    bold: (text) => styleText('bold', text)
  })
}

async function stop (): Promise<void> {
  // A browser opens connections in advance: without a request they have nothing to wait for, and close() would.
  const impatience = setTimeout(() => { for (const { server } of nodes) server.closeAllConnections() }, LAST_REQUESTS_MS)
  await Promise.all(nodes.map((app) => app.close()))
  clearTimeout(impatience)
}

function explain (error: unknown): string {
  if (error instanceof ConfigError) return `${error.message}\n(The demo takes two ports: PORT and the one after it.)`
  const { code, port } = error as { code?: string, port?: number }
  if (code === 'EADDRINUSE') return `Port ${port} is taken. Choose another pair with: PORT=4000 npm run demo   (PORT=0 takes free ones)`
  if (code === 'EACCES') return `Port ${port} is not allowed to you. Choose a higher one: PORT=4000 npm run demo`
  throw error
}

const closing = closeWithGrace({ delay: 3000, logger: false }, async ({ err }) => {
  if (err !== undefined) console.error(err)
  await stop()
})

try {
  console.log(await start())
} catch (error) {
  closing.uninstall()
  await stop()
  console.error(explain(error))
  process.exitCode = 1
}
