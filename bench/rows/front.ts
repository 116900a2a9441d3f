// Two nodes on Redis, and what may stand in front of them, each with TLS and without.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeCertificate } from '../../test/fixtures/certificate.ts'
import { startHaproxy } from '../../test/fixtures/haproxy.ts'
import { isOnPath } from '../../test/fixtures/parts.ts'
import { freePort, makeFolder } from '../../test/fixtures/process.ts'
import type { Scope } from '../../test/fixtures/wait.ts'
import { durable, type Node, nginxAbsent, redisAbsent, startNginx, startNode, startRedis } from '../harness/parts.ts'
import { tree } from '../harness/proc.ts'
import type { Service } from '../harness/service.ts'
import type { Row, Running } from './row.ts'
import { GROUP, named, subscribe } from './tidings.ts'

const NODES = 2

type Over = 'tls' | 'h2' | undefined

/** What a front is given, and what it gives. */
interface Given { scope: Scope, nodes: readonly OwnFrontNode[], pem: string, certificate: { certFile: string, keyFile: string }, over: Over }
interface OwnFrontNode extends Node { opsPort: number }

export interface FrontRow extends Row {
  readonly startFront: (scope: Scope) => Promise<FrontRunning>
}
export interface FrontRunning extends Running {
  readonly nodes: readonly Node[]
}

interface Front {
  readonly name: string
  readonly title: string
  readonly over?: Over
  /** TLS ends at the nodes. */
  readonly nodesHaveTls?: boolean
  readonly env?: (i: number) => Record<string, string>
  readonly absent?: () => string | undefined
  readonly start?: (given: Given) => Promise<{ port: number, pids: () => number[] }>
}

const haproxyAbsent = (): string | undefined => isOnPath('haproxy') ? undefined : 'no haproxy; apt-get install haproxy'
const tlsAbsent = (): string | undefined => existsSync('/usr/include/openssl/ssl.h') ? undefined : 'no headers of OpenSSL for the load client; apt-get install libssl-dev'

const common = 'global\n  maxconn 9000\ndefaults\n  timeout connect 2s\n  timeout client 10m\n  timeout server 10m\n  timeout tunnel 10m\n  retries 3\n  option redispatch 1\n'
const haproxyHttp = ({ nodes, pem, over }: Given) => (port: number): string => `${common}  mode http
frontend tidings
  bind 127.0.0.1:${port}${over === undefined ? '' : ` ssl crt ${pem} alpn ${over === 'h2' ? 'h2' : 'http/1.1'}`}
  default_backend nodes
backend nodes
  balance leastconn
${nodes.map((node, i) => `  server node-${i} 127.0.0.1:${node.port} check inter 1s fall 1 port ${node.opsPort}\n`).join('')}`

const haproxy = (conf?: (given: Given) => (port: number) => string): NonNullable<Front['start']> => async (given) => {
  const { port, pid } = await startHaproxy(given.scope, { nodes: given.nodes, ...(conf !== undefined && { conf: conf(given) }) })
  return { port, pids: () => tree(pid) }
}

const nginx: NonNullable<Front['start']> = async ({ scope, nodes, certificate: { certFile, keyFile }, over }) => {
  const tlsPort = await freePort()
  const snippets = over === undefined
    ? {}
    : { 'server-tls.conf': `listen 127.0.0.1:${tlsPort} ssl${over === 'h2' ? ' http2' : ''};\nssl_certificate ${certFile};\nssl_certificate_key ${keyFile};\nssl_protocols TLSv1.2 TLSv1.3;\n` }
  const { port, pid } = await startNginx(scope, nodes, snippets)
  return { port: over === undefined ? port : tlsPort, pids: () => tree(pid) }
}

const proxied = { PROXY_PROTOCOL: 'on', TRUST_PROXY: 'loopback' }

const fronts: readonly Front[] = [
  { name: 'none', title: 'nothing: nodes share a port' },
  { name: 'none-tls', title: 'nothing, TLS in the nodes', over: 'tls', nodesHaveTls: true },
  { name: 'nginx', title: 'nginx', absent: nginxAbsent, start: nginx },
  { name: 'nginx-tls', title: 'nginx, TLS, HTTP/1.1', over: 'tls', absent: nginxAbsent, start: nginx },
  { name: 'nginx-h2', title: 'nginx, TLS, HTTP/2', over: 'h2', absent: nginxAbsent, start: nginx },
  { name: 'haproxy', title: 'HAProxy, mode http', absent: haproxyAbsent, start: haproxy(haproxyHttp) },
  { name: 'haproxy-tls', title: 'HAProxy, mode http, TLS, HTTP/1.1', over: 'tls', absent: haproxyAbsent, start: haproxy(haproxyHttp) },
  { name: 'haproxy-h2', title: 'HAProxy, mode http, TLS, HTTP/2', over: 'h2', absent: haproxyAbsent, start: haproxy(haproxyHttp) },
  { name: 'haproxy-tcp', title: 'HAProxy, mode tcp', env: () => proxied, absent: haproxyAbsent, start: haproxy() },
  { name: 'haproxy-tcp-tls', title: 'HAProxy, mode tcp, TLS in the nodes', over: 'tls', nodesHaveTls: true, env: () => proxied, absent: haproxyAbsent, start: haproxy() }
]

function row (service: Service, { name, title, over, nodesHaveTls = false, env = () => ({}), absent = () => undefined, start }: Front): FrontRow {
  const startFront = async (scope: Scope): Promise<FrontRunning> => {
    const certificate = makeCertificate(scope)
    const pem = join(makeFolder(scope), 'tls.pem')
    writeFileSync(pem, readFileSync(certificate.certFile, 'utf8') + readFileSync(certificate.keyFile, 'utf8'))
    const redis = await startRedis(scope)
    const shared = await freePort()
    const nodes: OwnFrontNode[] = []
    for (let i = 0; i < NODES; i++) {
      const opsPort = await freePort()
      const settings = {
        OPS_PORT: String(opsPort), ...env(i), ...(nodesHaveTls && certificate.env), ...(start === undefined && { REUSE_PORT: 'on' })
      }
      const served = { ...service, settings: { ...service.settings, ...settings } }
      const node = await startNode(scope, served, redis, undefined, start === undefined ? shared : undefined)
      nodes.push(Object.assign(node, { opsPort }))
    }
    const front = start === undefined ? { port: shared, pids: () => [] } : await start({ scope, nodes, pem, certificate, over })
    return {
      nodes,
      request: (i) => ({ ...subscribe(i, [front.port]), ...(over !== undefined && { over }) }),
      liveOn: 'sync',
      publish: (json) => { redis.line.send(durable(`group:${GROUP}`, json)) },
      check: () => { redis.line.check() },
      servers: () => nodes.map(({ pid }) => pid),
      others: { redis: () => [redis.pid], front: front.pids }
    }
  }
  return {
    ...named(service, `front-${name}`, title),
    kind: 'tidings',
    absent: () => redisAbsent() ?? absent() ?? (over === undefined ? undefined : tlsAbsent()),
    start: startFront,
    startFront
  }
}

export const frontRows = (services: readonly Service[]): FrontRow[] => fronts.flatMap((front) => services.map((service) => row(service, front)))
