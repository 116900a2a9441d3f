// All that a run consists of: Redis, the lines to it, three nodes, nginx, and the clients.
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startNginx, type Nginx } from '../test/fixtures/nginx.ts'
import { startNode, type TestNode } from '../test/fixtures/node.ts'
import { freePort, spawnChild, tail } from '../test/fixtures/process.ts'
import { createIssuer, MANAGE, PUBLISH } from '../test/fixtures/tokens.ts'
import type { Scope } from '../test/fixtures/wait.ts'
import { Division } from './division.ts'
import { Ledger } from './ledger.ts'
import { Line } from './line.ts'
import { Listener } from './listener.ts'
import type { Options } from './options.ts'
import { Outside } from './outside.ts'
import { Random } from './random.ts'
import { Store } from './store.ts'
import { Tamper } from './tamper.ts'
import { Replicated } from './topology.ts'

const dyingPublisher = fileURLToPath(new URL('dying-publisher.ts', import.meta.url))
export const NODES = 3
const PREFIX = 'chaos'
/** Groups of the tokens; every user is in two. */
const FIXED_GROUPS = Array.from({ length: 10 }, (_, index) => `team ${index}`)
/** Groups that are joined and left on the way. */
export const DYNAMIC_GROUPS = Array.from({ length: 5 }, (_, index) => `room ${index}`)
/** Streams a user has. */
const STREAMS = 3
/** One client in so many reads slowly. */
const SLOW_EVERY = 20
const SLOW_REST_MS = 50
/** What is broken in the nodes themselves. */
const PRELOADED: ReadonlySet<string> = new Set(['no-refill', 'no-gap', 'no-copies'])

/**
 * Small buffers, so that a few MB overflow them; no limits on how often one may come, since all come again and again.
 */
const settings = {
  RETRY_MS: '1000',
  HEARTBEAT_SECONDS: '5',
  DRAIN_SECONDS: '3',
  MAX_DATA_BYTES: '16384',
  STREAM_BUFFER_BYTES: '131072',
  CONNECTS_PER_MINUTE: '0',
  PUBLISH_PER_MINUTE: '0'
}

export class World {
  readonly ledger = new Ledger()
  readonly listeners: Listener[] = []
  readonly nodes: TestNode[] = []
  readonly lines: Line[] = []
  readonly division: Division
  readonly outside: Outside
  /** Where there are several: of each node, to the server at that port. */
  readonly #linesTo: Array<Map<number, Line>> = []
  /** Of each node. */
  readonly tampers: Tamper[] = []
  /** Nodes that are down or stopped on purpose. */
  readonly excused = new Set<number>()
  /** Told of each end of a client's connection. */
  onStreamEnd: () => void = () => {}
  /** Nodes that did not end with code 0 when asked to. */
  uncleanExits = 0
  operator = ''
  /** With --topology single. */
  store!: Store
  /** With the others. */
  replicated: Replicated | undefined
  nginx!: Nginx
  readonly #scope: Scope
  readonly #options: Options
  readonly #issuer = createIssuer()
  #ports: number[] = []

  constructor (scope: Scope, options: Options) {
    this.#scope = scope
    this.#options = options
    this.division = new Division({ root: PREFIX, count: options.partitions, isCluster: options.topology === 'cluster' })
    this.outside = new Outside(this.division, (key, args) => this.replicated?.send(key, ...args) ?? this.store.send(...args), (channel, text) => this.replicated?.say(channel, text) ?? this.store.send('PUBLISH', channel, text))
  }

  get users (): string[] {
    return Array.from({ length: Math.ceil(this.#options.clients / STREAMS) }, (_, index) => `user-${index}`)
  }

  get fixedGroups (): readonly string[] { return FIXED_GROUPS }

  async start (): Promise<void> {
    const { clients, seed, topology } = this.#options
    if (topology === 'single') await this.#startStore()
    else {
      this.replicated = await Replicated.start(this.#scope, topology)
      await this.#startLines(this.replicated)
    }
    for (let index = 0; index < NODES; index++) this.tampers.push(new Tamper(this.#scope))
    this.#ports = await Promise.all(Array.from({ length: NODES }, freePort))
    await Promise.all(this.#ports.map((_, index) => this.startNode(index)))
    await this.startNginx()
    this.operator = this.#issuer.token({ sub: 'operator', exp: Math.floor(Date.now() / 1000) + 90_000, scope: `${PUBLISH} ${MANAGE}` })
    const random = new Random(seed)
    const tokens = this.users.map((sub) => {
      const groups = random.shuffled(FIXED_GROUPS).slice(0, 2)
      return { sub, groups, token: this.#issuer.token({ sub, groups, exp: Math.floor(Date.now() / 1000) + 90_000 }) }
    })
    for (let index = 0; index < clients; index++) this.#listen(index, tokens[index % tokens.length]!)
  }

  /** One Redis, and a line to it for each node. */
  async #startStore (): Promise<void> {
    this.store = await Store.start(this.#scope)
    for (let index = 0; index < NODES; index++) {
      const line = new Line(this.store.port, { dropsEach: this.#options.sabotage === 'drop-one' && index === 0 ? 2 : undefined })
      await line.listen()
      this.#scope.teardown(() => { line.close() })
      this.lines.push(line)
    }
  }

  /** A line from each node to each server. */
  async #startLines ({ servers }: Replicated): Promise<void> {
    for (let index = 0; index < NODES; index++) {
      const lines = new Map<number, Line>()
      this.#linesTo.push(lines)
      for (const { port } of servers) {
        const line = new Line(port)
        await line.listen()
        this.#scope.teardown(() => { line.close() })
        lines.set(port, line)
      }
    }
  }

  /** Where Redis is, without the lines. */
  get #url (): string { return this.replicated?.url ?? `redis://127.0.0.1:${this.store.port}` }

  /** What a process had committed that was killed in that moment. Throws if it was not. */
  async publisherDies (publishes: ReadonlyArray<readonly [data: object, ...to: string[]]>, copies: number): Promise<Array<[mark: number, id: number]>> {
    const child = spawnChild(this.#scope, process.execPath, [dyingPublisher, this.#url, PREFIX, `${this.division.count}`, `${copies}`, JSON.stringify(publishes)], { name: 'publisher' })
    const { signal } = await child.exited
    const line = child.lines.find((line) => line.startsWith('committed '))
    if (signal !== 'SIGKILL' || line === undefined) throw new Error(`a publisher did not die as it should: ${tail(child.lines)}`)
    return JSON.parse(line.slice('committed '.length)) as Array<[number, number]>
  }

  lineTo (index: number, port: number): Line {
    return this.#linesTo[index]!.get(port)!
  }

  #listen (index: number, { sub, groups, token }: { sub: string, groups: readonly string[], token: string }): void {
    let ends = 0
    const listener = new Listener({
      name: `${sub} #${Math.floor(index / this.users.length)}`,
      userId: sub,
      groups,
      url: this.nginx.url,
      token,
      restMs: index % SLOW_EVERY === SLOW_EVERY - 1 ? SLOW_REST_MS : 0,
      newest: () => this.ledger.newest,
      onChange: () => {
        if (listener.ends === ends) return
        ends = listener.ends
        this.onStreamEnd()
      }
    })
    this.listeners.push(listener)
    this.#scope.teardown(() => { listener.close() })
  }

  listenersOf (userId: string): Listener[] {
    return this.listeners.filter((listener) => listener.options.userId === userId)
  }

  async startNode (index: number): Promise<void> {
    // As nodes are really started, but for what sabotage loads before them.
    const { sabotage } = this.#options
    const lines = this.#linesTo[index]
    const preloads = [...lines === undefined ? [] : ['detour'], ...sabotage !== undefined && PRELOADED.has(sabotage) ? [`sabotage/${sabotage}`] : []]
    const options = {
      ...preloads.length > 0 && { NODE_OPTIONS: [process.env.NODE_OPTIONS ?? '', ...preloads.map((name) => `--import ${new URL(`${name}.ts`, import.meta.url).href}`)].join(' ').trim() },
      ...lines !== undefined && { CHAOS_LINES: [...lines].map(([port, line]) => `${port}:${line.port}`).join() }
    }
    this.nodes[index] = await startNode(this.#scope, {
      name: `node-${index}`,
      port: this.#ports[index]!,
      env: { ...settings, ...options, ...this.tampers[index]!.env, ...this.#issuer.env, REDIS_URL: this.replicated?.url ?? `redis://127.0.0.1:${this.lines[index]!.port}`, REDIS_PREFIX: PREFIX, REDIS_PARTITIONS: `${this.division.count}` }
    })
    this.excused.delete(index)
  }

  async killNode (index: number): Promise<void> {
    this.excused.add(index)
    await this.nodes[index]!.kill()
  }

  async stopNode (index: number): Promise<void> {
    this.excused.add(index)
    const { code } = await this.nodes[index]!.stop()
    if (code !== 0) this.uncleanExits++
  }

  async startNginx (): Promise<void> {
    const edit = (conf: string): string => this.#options.sabotage === 'no-replay'
      ? conf.replace('proxy_set_header Connection "";', 'proxy_set_header Connection "";\n    proxy_set_header Last-Event-ID "";')
      : conf
    const port = this.nginx as Nginx | undefined === undefined ? {} : { port: this.nginx.port }
    this.nginx = await startNginx(this.#scope, { nodes: this.#ports, edit, ...port })
  }

  /** Another server, empty, takes the place of Redis; the one so far is killed. */
  async failOver (): Promise<void> {
    const next = await Store.start(this.#scope)
    const last = this.store
    await last.kill()
    this.store = next
    for (const line of this.lines) {
      line.retarget(next.port)
      line.cut()
    }
  }

  /** Resolves when it holds, or after a while anyway: what does not come about shows as not healed. */
  async until (holds: () => boolean): Promise<void> {
    for (const end = performance.now() + 20_000; !holds() && performance.now() < end;) await pause(20)
  }

  /** Breaks the lines of so many clients, who come back by themselves. */
  dropClients (random: Random, count: number): void {
    for (const listener of random.shuffled(this.listeners).slice(0, count)) listener.drop()
  }

  async call (
    method: string, path: string, body?: unknown, headers: Record<string, string> = {}
  ): Promise<{ status: number, retryAfter: string | null, body: any }> {
    const answer = await fetch(new URL(path, this.nginx.url), {
      method,
      headers: { authorization: `Bearer ${this.operator}`, ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000)
    })
    const text = await answer.text()
    return { status: answer.status, retryAfter: answer.headers.get('retry-after'), body: answer.status === 202 ? JSON.parse(text) : text }
  }
}
