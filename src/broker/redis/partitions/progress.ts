// The list of partitions while they are divided: how far that is, and which call of the tool does it.
import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { Ask } from './scan.ts'

/** A call that has not looked for so long whether it still may, looks before its next command. */
const LOOK_MS = 1000

/**
 * A call may be stopped for a long time, such as one whose terminal was lost, while another one does the work and nodes
 * start. If it went on then, it would copy old data over new.
 */
export class Progress {
  readonly #list: string
  readonly #ask: Ask
  readonly #id = randomUUID()
  #isMine = false
  #lookedAtMs = 0

  /** `list`: the key of the list of partitions. */
  constructor (list: string, ask: Ask) {
    this.#list = list
    this.#ask = ask
  }

  async read (): Promise<string[]> {
    return await this.#ask(this.#list, (redis) => redis.lrange(this.#list, 0, -1))
  }

  /** From now on this call works, and one that did before ends before its next command. */
  async begin (text: string): Promise<void> {
    await this.#write([text, this.#id])
    this.#lookedAtMs = performance.now()
    this.#isMine = true
  }

  async end (list: readonly string[]): Promise<void> {
    if (this.#isMine) await this.#look()
    await this.#write(list)
    this.#isMine = false
  }

  /** Sends a command as long as no other call has begun. */
  async ask<T> (key: string, command: (redis: Redis) => Promise<T>): Promise<T> {
    if (this.#isMine && performance.now() - this.#lookedAtMs > LOOK_MS) await this.#look()
    return await this.#ask(key, command)
  }

  async #look (): Promise<void> {
    const askedAtMs = performance.now()
    if ((await this.read())[1] !== this.#id) throw new Error('another call of this tool has taken over: let that one finish')
    this.#lookedAtMs = askedAtMs
  }

  async #write (list: readonly string[]): Promise<void> {
    await this.#ask(this.#list, async (redis) => {
      if (list.length === 0) await redis.unlink(this.#list)
      // Its own key alone: another one may be in another slot of a Cluster, whatever braces the prefix has.
      else await redis.multi().unlink(this.#list).rpush(this.#list, ...list).exec()
    })
  }
}
