// Many clients: load processes that hold the streams and keep the ledger, spoken to as one.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { compile } from '../../test/fixtures/compile.ts'
import { makeFolder, tail, type Spawned } from '../../test/fixtures/process.ts'
import type { Scope } from '../../test/fixtures/wait.ts'
import { PAYLOAD_BYTES } from './payload.ts'
import { start } from './start.ts'
import { Histogram } from './stats.ts'

/** What one stream asks for; `headers` whole lines. */
export interface StreamRequest {
  readonly port: number
  readonly path: string
  readonly headers?: readonly string[]
  /** Default plain HTTP/1.1. Of all streams of a crowd the same. */
  readonly over?: 'tls' | 'h2'
}

export interface CrowdReport {
  readonly streams: number
  readonly live: number
  readonly messages: number
  /** Deliveries of the asked numbers that were passed over, and how many streams lack one. */
  readonly lost: number
  readonly losers: number
  /** Deliveries of the asked numbers beyond the last that a stream received: late by now, or lost. */
  readonly behind: number
  readonly duplicates: number
  /** Messages that came after one with a greater number. */
  readonly late: number
  /** Messages whose payload had not the length that was published. */
  readonly torn: number
  readonly bytes: number
  readonly pings: number
  readonly refused: number
  readonly ended: number
  readonly syncs: number
  readonly incomplete: number
  /** Of the load processes, since they began. */
  readonly cpuSeconds: number
  /** Of that, since the last reset: waiting with open eyes, so that nobody has to wake them. */
  readonly awakeSeconds: number
  readonly latency: Histogram
}

export type Client = 'c' | 'node'

const folder = fileURLToPath(new URL('../load/', import.meta.url))

const sources = ['load.c', 'wait.c', 'parse.c', 'tally.c', 'requests.c', 'load.h'].map((file) => join(folder, file))

export function compileLoad (): string | undefined {
  return compile('load', sources)
}

/** The same, that speaks TLS and HTTP/2 as well. */
function compileLoadWithTls (): string {
  const program = compile('load-tls', [...sources, join(folder, 'tls.c')], ['-O2', '-DWITH_TLS', '-Wl,--no-as-needed', '-lssl', '-lcrypto'])
  if (program === undefined) throw new Error('no C compiler; apt-get install gcc libc6-dev')
  return program
}

type Answer = { is: string } & Record<string, number> & { histogram?: number[] }

export interface CrowdOptions {
  readonly requests: readonly StreamRequest[]
  /** When a stream counts as live: at Tidings' `sync`, or when its head has come. */
  readonly liveOn: 'sync' | 'head'
  readonly client: Client
  /** How many processes hold them. */
  readonly processes?: number
}

export class Crowd {
  readonly streams: number
  readonly #children: Spawned[] = []
  readonly #waiting = new Map<string, (answer: Answer, child: number) => void>()
  #fail: (error: Error) => void = () => {}
  #stopped = false

  constructor (scope: Scope, { requests, liveOn, client, processes = Math.ceil(requests.length / 15_000) }: CrowdOptions) {
    this.streams = requests.length
    const over = requests[0]?.over
    const program = over !== undefined ? compileLoadWithTls() : client === 'c' ? compileLoad() : undefined
    const [command, ...first] = program !== undefined ? [program] : [process.execPath, join(folder, 'load.ts')]
    const place = makeFolder(scope)
    for (let i = 0; i < processes; i++) {
      const file = join(place, `requests-${i}`)
      const mine = requests.filter((_, at) => at % processes === i)
      writeFileSync(file, mine.map(({ port, path, headers = [] }) => [port, path, ...headers].join('\t') + '\n').join(''))
      const child = start(scope, command!, [...first, file, String(PAYLOAD_BYTES), liveOn, ...(over === undefined ? [] : [over])], {
        name: `load client ${i + 1}`,
        hasStdin: true,
        onLine: (line) => { this.#heard(line, i) }
      })
      void child.exited.then(({ code, signal }) => {
        if (!this.#stopped) this.#fail(new Error(`load client ${i + 1} ended (${signal ?? `exit ${code}`})\n${tail(child.lines)}`))
      })
      this.#children.push(child)
    }
    scope.teardown(() => { this.#stopped = true })
  }

  #heard (line: string, child: number): void {
    if (!line.startsWith('{')) {
      this.#fail(new Error(line))
      return
    }
    const answer = JSON.parse(line) as Answer
    this.#waiting.get(answer.is)?.(answer, child)
  }

  /** Says a command to every process and resolves with an answer of each. */
  async #ask (command: string, is: string, withinMs: number): Promise<Answer[]> {
    const answers: Answer[] = []
    return await new Promise<Answer[]>((resolve, reject) => {
      const late = setTimeout(() => { reject(new Late(`the load clients did not say "${is}" within ${withinMs} ms`)) }, withinMs)
      this.#fail = reject
      this.#waiting.set(is, (answer) => {
        if (answers.push(answer) < this.#children.length) return
        clearTimeout(late)
        this.#waiting.delete(is)
        resolve(answers)
      })
      for (const child of this.#children) child.send(command)
    }).finally(() => { this.#fail = () => {} })
  }

  /** Opens all streams; resolves when all are live. Throws if some were refused. */
  async open (atOnce = 200): Promise<number> {
    const answers = await this.#ask(`open ${Math.ceil(atOnce / this.#children.length)}`, 'open', 120_000)
    const failed = sum(answers, 'failed')
    if (failed > 0) throw new Error(`${failed} of ${this.streams} streams could not be opened`)
    return Math.max(...answers.map(({ ms }) => ms!))
  }

  async reset (): Promise<void> {
    await this.#ask('reset', 'reset', 10_000)
  }

  /** Resolves when every stream has received the message `n`; false if that takes too long. */
  async reach (n: number, withinMs = 60_000): Promise<boolean> {
    try {
      await this.#ask(`reach ${n}`, 'reached', withinMs)
      return true
    } catch (error) {
      if (error instanceof Late) return false
      throw error
    }
  }

  async report (from: number, to: number): Promise<CrowdReport> {
    const answers = await this.#ask(`report ${from} ${to}`, 'report', 60_000)
    const latency = new Histogram()
    for (const { histogram = [] } of answers) latency.merge(histogram)
    const names = ['streams', 'live', 'messages', 'lost', 'losers', 'behind', 'duplicates', 'late', 'bytes', 'pings', 'refused', 'ended', 'syncs', 'incomplete', 'torn', 'cpuSeconds', 'awakeSeconds'] as const
    return { ...Object.fromEntries(names.map((name) => [name, sum(answers, name)])) as Omit<CrowdReport, 'latency'>, latency }
  }

  /** From now on a stream that ends comes back at once, at one of these ports, with its Last-Event-ID. */
  follow (ports: readonly number[]): void {
    for (const child of this.#children) child.send(`follow ${ports.join(' ')}`)
  }

  /** Resolves when every stream that had ended is live again. */
  async again (withinMs = 120_000): Promise<{ streams: number, ms: number, p50: number, p99: number, retries: number }> {
    const answers = await this.#ask('again', 'again', withinMs)
    const most = (name: string): number => Math.max(...answers.map((answer) => answer[name]!))
    return { streams: sum(answers, 'streams'), ms: most('ms'), p50: most('p50'), p99: most('p99'), retries: sum(answers, 'retries') }
  }

  async churn (count: number, atOnce: number): Promise<{ ms: number, failed: number }> {
    const answers = await this.#ask(`churn ${Math.ceil(count / this.#children.length)} ${Math.ceil(atOnce / this.#children.length)}`, 'churned', 600_000)
    return { ms: Math.max(...answers.map(({ ms }) => ms!)), failed: sum(answers, 'failed') }
  }

  async close (): Promise<void> {
    await this.#ask('close', 'closed', 30_000)
  }
}

class Late extends Error {}

function sum (answers: readonly Answer[], name: string): number {
  return answers.reduce((total, answer) => total + Number(answer[name]), 0)
}
