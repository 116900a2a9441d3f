// Looks at the nodes and the clients all the time: what shows, who is alive, and when all is whole again.
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault } from './fault.ts'
import type { World } from './world.ts'

const EVERY_MS = 100
const PATIENCE_MS = 5000

export class Watch {
  readonly #world: World
  readonly #ready: boolean[] = []
  #shows: Fault['shows'] = 'nothing'
  #noticed: () => void = () => {}
  #isOver = false
  /** Times that /livez did not answer 200 on a node that was not down or stopped on purpose. */
  notAlive = 0

  constructor (world: World) {
    this.#world = world
    world.onStreamEnd = () => { if (this.#shows === 'streams') this.#noticed() }
    for (let index = 0; index < world.nodes.length; index++) {
      void this.#look(index)
      void this.#feel(index)
    }
  }

  stop (): void {
    this.#isOver = true
  }

  /** From now on, the first of these signs is told. */
  expect (shows: Fault['shows'], noticed: () => void): void {
    this.#shows = shows
    this.#noticed = noticed
  }

  async #look (index: number): Promise<void> {
    while (!this.#isOver) {
      const isReady = await this.#isReady(index)
      this.#ready[index] = isReady
      if (!isReady && this.#shows === 'readiness') this.#noticed()
      await pause(EVERY_MS)
    }
  }

  // A partition that is away alone leaves a node ready.
  async #isReady (index: number): Promise<boolean> {
    const answer = await fetch(new URL('/readyz', this.#world.nodes[index]!.url), { signal: AbortSignal.timeout(1000) }).catch(() => undefined)
    const text = await answer?.text().catch(() => undefined)
    if (answer?.status !== 200 || text === undefined) return false
    const { partitions = [] } = JSON.parse(text) as { partitions?: Array<{ up: boolean }> }
    return partitions.every(({ up }) => up)
  }

  async #feel (index: number): Promise<void> {
    while (!this.#isOver) {
      const wasExcused = this.#world.excused.has(index)
      const isAlive = await this.#asks(index, '/livez', PATIENCE_MS)
      if (!isAlive && !wasExcused && !this.#world.excused.has(index) && !this.#isOver) this.notAlive++
      await pause(5 * EVERY_MS)
    }
  }

  async #asks (index: number, path: string, withinMs: number): Promise<boolean> {
    return await fetch(new URL(path, this.#world.nodes[index]!.url), { signal: AbortSignal.timeout(withinMs) })
      .then(async (answer) => {
        await answer.arrayBuffer()
        return answer.status === 200
      }, () => false)
  }

  async metric (name: string, label = ''): Promise<number> {
    const pages = await Promise.all(this.#world.nodes.map(async ({ url }) =>
      await fetch(new URL('/metrics', url), { signal: AbortSignal.timeout(PATIENCE_MS) }).then(async (answer) => await answer.text(), () => '')))
    return pages.reduce((sum, page) => sum + page.split('\n')
      .filter((line) => line.startsWith(name) && line.includes(label))
      .reduce((value, line) => value + Number(line.slice(line.lastIndexOf(' '))), 0), 0)
  }

  /**
   * Whether, in time, every node is ready and hears all partitions, and every client is live and has come to the
   * position that is named for its user.
   */
  async becomesWhole (position: (userId: string) => number, withinMs: number): Promise<boolean> {
    for (const end = performance.now() + withinMs; performance.now() < end;) {
      if (this.#ready.length === this.#world.nodes.length && this.#ready.every(Boolean) && this.#isHeard(position)) return true
      await pause(EVERY_MS / 4)
    }
    return false
  }

  // Who is closed for good is counted as that, not waited for.
  #isHeard (position: (userId: string) => number): boolean {
    return this.#world.listeners.every(({ closedBy, isLive, position: at, options: { userId } }) =>
      closedBy !== undefined || (isLive && at >= position(userId)))
  }
}
