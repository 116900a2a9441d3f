// A Redis of our own that keeps what it acknowledges, and can be killed, emptied, stopped and replaced.
import { findRedis } from '../test/fixtures/parts.ts'
import { freePort, makeFolder, spawnChild, type Child } from '../test/fixtures/process.ts'
import { RedisCli, type Reply } from '../test/fixtures/resp.ts'
import type { Scope } from '../test/fixtures/wait.ts'
import { Tamper } from './tamper.ts'

export class Store {
  readonly port: number
  readonly #scope: Scope
  readonly #program: string
  readonly #cli: RedisCli
  readonly #others: RedisCli
  readonly tamper: Tamper
  #folder: string
  #child: Child | undefined

  private constructor (scope: Scope, program: string, port: number) {
    this.#scope = scope
    this.#program = program
    this.port = port
    this.tamper = new Tamper(scope)
    this.#folder = makeFolder(scope)
    this.#cli = new RedisCli(`redis://127.0.0.1:${port}`)
    this.#others = new RedisCli(`redis://127.0.0.1:${port}`)
    scope.teardown(() => {
      this.#cli.close()
      this.#others.close()
    })
  }

  /** Started, and empty. */
  static async start (scope: Scope): Promise<Store> {
    const part = await findRedis({ own: true })
    if (part.kind !== 'binary') throw new Error('chaos stops and kills Redis, so it needs a redis-server of its own on PATH')
    const store = new Store(scope, part.path, await freePort())
    await store.start()
    return store
  }

  async start ({ isEmpty = false } = {}): Promise<void> {
    if (isEmpty) this.#folder = makeFolder(this.#scope)
    // "always": what is acknowledged is on disk, so a kill loses nothing that was.
    this.#child = spawnChild(this.#scope, this.#program, [
      '--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.#folder, '--save', '', '--appendonly', 'yes', '--appendfsync', 'always',
      // As many a managed Redis has it. Nothing is evicted before maxmemory is set.
      '--maxmemory-policy', 'volatile-lru'
    ], { name: 'redis-server', env: { ...process.env, ...this.tamper.env } })
    await this.#child.waitForLine(/Ready to accept connections/)
  }

  async kill (): Promise<void> {
    this.#child?.signal('SIGKILL')
    await this.#child?.exited
  }

  pause (): void { this.#child?.signal('SIGSTOP') }
  resume (): void { this.#child?.signal('SIGCONT') }

  /** For the faults. */
  async cli (...args: Array<string | number>): Promise<Reply> {
    return await this.#cli.send(...args)
  }

  /** What another service would send: a connection that the faults hit too. */
  async send (...args: Array<string | number>): Promise<Reply> {
    return await this.#others.send(...args)
  }
}
