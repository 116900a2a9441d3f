// The image's health check: exit 0 exactly when the node beside it is alive. It asks /livez where the node listens by
// the same settings, read by the same rule, past any proxy. Alive, not ready: a node that waits for its broker comes
// back by itself.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { isIPv6 } from 'node:net'
import { LISTEN_DEFAULTS, readSetting } from './environment.ts'

/** From the start of this process, which a busy machine makes late: Docker gives up after 5 s of it. */
const TIMEOUT_MS = 4000

/**
 * The wildcards are no addresses that one can connect to; every other is the only one that answers. `::` is both, if a
 * system has both.
 */
function addressesOf (host: string): string[] {
  if (host === '0.0.0.0') return ['127.0.0.1']
  return host === '::' ? ['::1', '127.0.0.1'] : [host]
}

/**
 * The port that a node with PORT=0 was given, from Linux's tables: of the process that runs server.ts with the
 * environment that we have.
 */
function findPort (): number {
  const ours = process.env.NODE_NAME
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const read = (name: string): string => readFileSync(`/proc/${pid}/${name}`, 'latin1')
      if (!/\0(\S*\/)?src\/server\.ts\0/.test(`${read('cmdline')}\0`)) continue
      if (ours !== undefined && !read('environ').split('\0').includes(`NODE_NAME=${ours}`)) continue
      const sockets = new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]))
      for (const table of ['tcp', 'tcp6']) {
        for (const line of read(`net/${table}`).split('\n').slice(1)) {
          // sl, local address, remote address, state (0A: listens), …, inode
          const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/)
          if (state === '0A' && sockets.has(inode)) return Number.parseInt(local.split(':')[1]!, 16)
        }
      }
    } catch {
      // Another user's process, or one that has just ended.
    }
  }
  throw new Error('no node was found that listens')
}

/** Resolves if /livez answers 200, and rejects with the reason if not. */
async function ask (host: string, port: number, isTls: boolean): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    // An agent of its own: the global one goes through HTTP_PROXY where NODE_USE_ENV_PROXY is set.
    const options = { host, port, path: '/livez', agent: false, timeout: Math.max(1, TIMEOUT_MS - performance.now()), headers: { host: isIPv6(host) ? `[${host}]` : host } }
    // Which name the certificate has is for clients to check.
    const request = isTls ? https.get({ ...options, rejectUnauthorized: false }) : http.get(options)
    request.on('timeout', () => { request.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)) })
    request.on('error', reject)
    request.on('response', ({ statusCode }) => {
      request.destroy()
      if (statusCode === 200) resolve()
      else reject(new Error(`/livez answered ${statusCode}`))
    })
  })
}

try {
  const hosts = addressesOf(readSetting(process.env, 'HOST') ?? LISTEN_DEFAULTS.HOST)
  const given = Number(readSetting(process.env, 'PORT') ?? LISTEN_DEFAULTS.PORT)
  const opsPort = readSetting(process.env, 'OPS_PORT')
  const port = opsPort !== undefined ? Number(opsPort) : given === 0 ? findPort() : given
  const isTls = opsPort === undefined && readSetting(process.env, 'TLS_CERT_FILE') !== undefined
  await Promise.any(hosts.map(async (host) => { await ask(host, port, isTls) }))
  process.exit(0)
} catch (error) {
  const reasons = error instanceof AggregateError ? error.errors as Error[] : [error as Error]
  console.error(`not alive: ${reasons.map(({ message }) => message).join('; ')}`)
  process.exit(1)
}
