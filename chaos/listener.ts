// A browser's EventSource and nothing more, which remembers what it was told: 300 of them fit into one process.
import type { Socket } from 'node:net'
import { ownEvents } from '../test/fixtures/client.ts'
import { readFrames } from '../test/fixtures/frames.ts'
import { exchange } from '../test/fixtures/wire.ts'
import type { Sync, Told } from './ledger.ts'

/** What a slow client reads at a stretch. */
const REST_BYTES = 4096

export interface ListenerOptions {
  readonly name: string
  readonly userId: string
  /** Groups of its token. */
  readonly groups: readonly string[]
  readonly url: string
  readonly token: string
  /** Milliseconds that it rests after each REST_BYTES; 0: none. */
  readonly restMs: number
  readonly onChange: () => void
  /** The newest id that was acknowledged to anybody. */
  readonly newest: () => number
}

export class Listener {
  readonly options: ListenerOptions
  readonly told: Told[] = []
  readonly syncs: Sync[] = []
  /** Connections that ended before the one that stands now. */
  ends = 0
  /** What ended it for good, if anything did: a status other than 200, or bytes that are no HTTP. */
  closedBy: string | undefined
  /** The greatest id that it has seen. */
  position = 0
  isLive = false
  connection = 0
  #lastEventId = ''
  #retryMs = 3000
  #socket: Socket | undefined
  #timer: NodeJS.Timeout | undefined
  #isStalled = false
  #unrestedBytes = 0
  #isOver = false
  #isAway = false
  #cutAt: number | undefined
  #cutConnection = 0

  constructor (options: ListenerOptions) {
    this.options = options
    this.#connect()
  }

  // WHATWG HTML 9.2: the end of a stream reconnects after `retry:`, any answer but an event stream with 200 closes it
  // for good.
  #connect (): void {
    const { url, token, onChange } = this.options
    const connection = ++this.connection
    let closedBy: string | undefined
    const frames = readFrames({
      onRetry: (ms) => { this.#retryMs = ms },
      onEvent: ({ id, event, data }) => {
        // What came in the same read as the last before a cut never arrived.
        if (connection === this.#cutConnection) return
        if (id !== undefined) this.#lastEventId = id
        this.#hear(event, id, data)
        this.#cut()
        onChange()
      }
    })
    this.#socket = exchange({
      url: new URL('/api/notifications/subscribe', url),
      headers: { Accept: 'text/event-stream', Cookie: `tidings_token=${token}`, ...(this.#lastEventId !== '' && { 'Last-Event-ID': this.#lastEventId }) },
      onHead: ({ status, headers }) => {
        if (status !== 200 || !headers['content-type']?.startsWith('text/event-stream')) closedBy = `status ${status}`
      },
      onBody: (piece) => {
        if (closedBy === undefined) frames(piece)
        this.#rest(piece.length)
      },
      onEnding: (ending, error) => {
        frames(undefined)
        this.isLive = false
        this.ends++
        if (this.#isOver) return
        if (ending === 'fault') closedBy ??= `no HTTP: ${error?.message}`
        this.closedBy = closedBy
        if (closedBy === undefined && !this.#isAway) this.#timer = setTimeout(() => { this.#connect() }, this.#retryMs)
        onChange()
      }
    })
    if (this.#isStalled) this.#socket.pause()
  }

  #hear (event: string, idText: string | undefined, data: string): void {
    const id = Number(idText ?? 0)
    if (event === 'sync') {
      const { resume, replayed, more } = JSON.parse(data) as { resume: Sync['resume'], replayed: number, more?: true }
      const { connection, told } = this
      const newest = more && { newest: this.options.newest() }
      this.syncs.push({ id, resume, atMs: performance.now(), replayed, connection, toldBefore: told.length, ...newest })
      // Told early, before the history: another one follows it.
      this.isLive = more !== true
    } else if (ownEvents.has(event)) return
    else this.told.push({ id, mark: markOf(data), connection: this.connection, event })
    if (id > this.position) this.position = id
  }

  #cut (): void {
    if (this.isLive) this.#cutAt = undefined
    if (this.#cutAt === undefined || this.told.length < this.#cutAt) return
    this.#cutAt = undefined
    this.#cutConnection = this.connection
    this.#socket?.destroy()
  }

  // Slower than a burst, faster than what comes between bursts.
  #rest (bytes: number): void {
    this.#unrestedBytes += bytes
    if (this.options.restMs === 0 || this.#isStalled || this.#unrestedBytes < REST_BYTES) return
    this.#unrestedBytes = 0
    const socket = this.#socket
    socket?.pause()
    setTimeout(() => { if (!this.#isStalled) socket?.resume() }, this.options.restMs)
  }

  /** The line breaks, and it comes back as after any end. */
  drop (): void {
    this.#socket?.destroy()
  }

  /** Away until `comeBack()`: a closed laptop, a phone in a tunnel. */
  goAway (): void {
    this.#isAway = true
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#socket?.destroy()
  }

  /** `cutAfter`: the line breaks again after so many notifications, if no `sync` came before. */
  comeBack ({ cutAfter }: { cutAfter?: number } = {}): void {
    this.#isAway = false
    this.#cutAt = cutAfter === undefined ? undefined : this.told.length + cutAfter
    this.#connect()
  }

  /** Stops reading; the line stays open. */
  stall (): void {
    this.#isStalled = true
    this.#socket?.pause()
  }

  resume (): void {
    this.#isStalled = false
    this.#socket?.resume()
  }

  get isStalled (): boolean { return this.#isStalled }

  close (): void {
    this.#isOver = true
    clearTimeout(this.#timer)
    this.#socket?.destroy()
  }
}

/** Every publisher writes `{"mark":<number>,…}`. */
function markOf (data: string): number {
  return Number(/^\{"mark":(\d+)[,}]/.exec(data)?.[1] ?? -1)
}
