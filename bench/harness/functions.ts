// The function library of a checkout on a Redis of its own, and what each call of it takes there, as Redis itself
// counts.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { startRedis } from '../../test/fixtures/redis.ts'
import { RedisCli, type Reply } from '../../test/fixtures/resp.ts'
import type { Scope } from '../../test/fixtures/wait.ts'
import type { Service } from './service.ts'

const PREFIX = 'tidings'
/** Calls that are sent before the first answer. */
const PIPELINE = 20
/**
 * The figure is the least of so many pieces: Redis counts by the clock, and a stranger who takes the core spoils a
 * piece.
 */
const PIECES = 400

export type Call = readonly [name: string, ...args: Array<string | number>]

export class Functions {
  readonly #cli: RedisCli

  private constructor (cli: RedisCli) {
    this.#cli = cli
  }

  /** As a node sets it up that keeps 1,000 notifications for a day. */
  static async open (scope: Scope, { root }: Service): Promise<Functions> {
    const { library } = await import(pathToFileURL(join(root, 'src/broker/redis/library.ts')).href) as { library: () => string }
    const { url } = await startRedis(scope, { own: true })
    const cli = new RedisCli(url)
    scope.teardown(() => { cli.close() })
    await cli.send('FUNCTION', 'LOAD', library())
    const functions = new Functions(cli)
    await functions.call(['tidings_configure', 0, 1000, 1000, 86_400, 65_536, '', 0, 1, 0, 0])
    return functions
  }

  async call ([name, ...args]: Call): Promise<Reply> {
    return await this.#cli.send('FCALL', name, 1, PREFIX, ...args)
  }

  /** Many, in their order. */
  async all (count: number, call: (i: number) => Call): Promise<Reply[]> {
    const replies: Reply[] = []
    for (let i = 0; i < count; i += PIPELINE) {
      replies.push(...await Promise.all(Array.from({ length: Math.min(PIPELINE, count - i) }, (_, j) => this.call(call(i + j)))))
    }
    return replies
  }

  /** What one of `count` calls takes of Redis, and what they answered. */
  async micros (count: number, call: (i: number) => Call): Promise<{ readonly micros: number, readonly replies: readonly Reply[] }> {
    const pieces: number[] = []
    const replies: Reply[] = []
    const size = Math.ceil(count / PIECES)
    for (let from = 0; from < count; from += size) {
      await this.#cli.send('CONFIG', 'RESETSTAT')
      replies.push(...await this.all(Math.min(size, count - from), (i) => call(from + i)))
      const [, calls, usec] = /cmdstat_fcall:calls=(\d+),usec=(\d+)/.exec(String(await this.#cli.send('INFO', 'commandstats')))!
      pieces.push(Number(usec) / Number(calls))
    }
    return { micros: Math.min(...pieces), replies }
  }
}
