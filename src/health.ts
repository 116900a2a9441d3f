// The image's health check: exits with 0 exactly if the node beside it is alive. It reads the same settings by the same
// rules, and asks /livez directly, not through a proxy. It asks for alive, not ready, because a node that waits for its
// broker recovers by itself.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { connect, isIPv6 } from 'node:net'
import tls from 'node:tls'
import { LISTEN_DEFAULTS, readSetting } from './environment.ts'

/** Measured from the start of this process, which may be slow to start on a busy machine. Docker allows 5 s in all. */
const TIMEOUT_MS = 4000

/** Addresses to connect to for a listen address. Wildcards are no such addresses; `::` may stand for IPv6 and IPv4. */
function addressesOf (host: string): string[] {
  if (host === '0.0.0.0') return ['127.0.0.1']
  return host === '::' ? ['::1', '127.0.0.1'] : [host]
}

/**
 * Finds the port of a node with PORT=0 in Linux's tables: that of the process which runs server.ts with our NODE_NAME.
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
      // This process belongs to another user, or has just ended.
    }
  }
  throw new Error('no node was found that listens')
}

/**
 * Resolves if /livez answers 200. Rejects with the reason otherwise. `hasHeader`: sends a header of the PROXY protocol
 * first, that of a balancer which speaks for itself.
 */
async function ask (host: string, port: number, isTls: boolean, hasHeader: boolean): Promise<void> {
  const dial = () => {
    const socket = connect(port, host)
    socket.write('PROXY UNKNOWN\r\n')
    return isTls ? tls.connect({ socket, rejectUnauthorized: false }) : socket
  }
  await new Promise<void>((resolve, reject) => {
    // No agent, because the global one uses HTTP_PROXY if NODE_USE_ENV_PROXY is set.
    const how = hasHeader ? { createConnection: dial } : { agent: false }
    const options = { ...how, host, port, path: '/livez', timeout: Math.max(1, TIMEOUT_MS - performance.now()), headers: { host: isIPv6(host) ? `[${host}]` : host } }
    // Clients check the name in the certificate; here it does not matter.
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
  // A node wants the header only from the addresses in TRUST_PROXY, among which this one may be.
  const mayNeedHeader = opsPort === undefined && readSetting(process.env, 'PROXY_PROTOCOL') === 'on'
  const first = mayNeedHeader ? await Promise.any(hosts.map(async (host) => { await ask(host, port, isTls, true) })).then(() => true, () => false) : false
  if (!first) await Promise.any(hosts.map(async (host) => { await ask(host, port, isTls, false) }))
  process.exit(0)
} catch (error) {
  const reasons = error instanceof AggregateError ? error.errors as Error[] : [error as Error]
  console.error(`not alive: ${reasons.map(({ message }) => message).join('; ')}`)
  process.exit(1)
}
