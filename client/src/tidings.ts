// tidings-client: one stream for all tabs of a browser, that wakes up, renews its tickets, and says in which state it is.
import type { Received } from './events.ts'
import { createLine, type State, stopwatch } from './line.ts'
import { createListeners, report } from './listeners.ts'
import { createOnce } from './once.ts'
import { createSharing, type Message } from './sharing.ts'

export type { State }

/** What a handler is told besides the data. */
export interface Meta {
  /** Opaque. Undefined for what has none: a plain PUBLISH, `keep: none`. */
  readonly id: string | undefined
  readonly event: string
  /** It was published while there was no line, and comes from the history. */
  readonly isReplay: boolean
}

export type Handler<Data = any> = (data: Data, meta: Meta) => void

/** The data of each event by its name. */
export type EventMap = Record<string, any>

/** https://standardschema.dev, as far as it is used here; it must answer at once. */
export interface Schema<Data = unknown> {
  readonly '~standard': {
    readonly validate: (value: unknown) => { readonly value: Data, readonly issues?: undefined } | { readonly issues: readonly { readonly message: string }[] } | Promise<unknown>
  }
}

export interface ConnectOptions<Events extends EventMap = EventMap> {
  /** Where the service is: its origin, or the path that it is mounted under. Default: the page's own origin. */
  readonly url?: string | URL
  /** A one-time ticket (POST /api/notifications/tickets, asked by your back end), for each connect. Default: the token is in a cookie. */
  readonly ticket?: () => Promise<string>
  /** With a cookie: called a while before the token ends; puts a fresh one into the cookie. */
  readonly renew?: () => unknown
  /** `browser`: all tabs share one stream. `tab`: one each. Default: `browser`. */
  readonly share?: 'browser' | 'tab'
  /** Who is signed in. Tabs share a stream only with tabs of the same user. Give it if people can change without a logout. */
  readonly user?: string
  /** Checks the data of an event at run time; what does not pass is reported as an error and handed to nobody. */
  readonly schemas?: { readonly [Event in keyof Events]?: Schema<Events[Event]> }
}

export interface Tidings<Events extends EventMap = EventMap> {
  readonly state: State
  /** Called when the state has changed. Returns how to stop that. */
  subscribe: (listener: () => void) => () => void
  /**
   * Calls `handler` for each notification with that event name (`message` if it was published without one), or for all with `*`.
   * What the service itself says can be heard by its name: sync, ping, read, retracted, expiring, replaced, closed.
   * Returns how to stop that.
   */
  on: <Event extends keyof Events & string>(event: Event | '*', handler: Handler<Events[Event]>) => () => void
  /** Called when something may be missing: fetch your data anew. Returns how to stop that. */
  onIncomplete: (handler: () => void) => () => void
  /** Of all tabs that ask for this id, one calls `fn`. Resolves to whether it was this one. */
  once: (id: string, fn: () => unknown) => Promise<boolean>
  /** After `replaced`, `closed` or `denied`: opens the stream anew, here. */
  useHere: () => void
  /** For good. */
  close: () => void
}

/** How often it looks whether the machine slept: one timer a tab, which does nothing else. */
const LOOK_MS = 1000
/** A leader whose stream is silent tells the others as often that it is there. */
const BEAT_MS = 5000
const OWN_EVENTS = new Set(['sync', 'ping', 'read', 'retracted', 'expiring', 'replaced', 'closed'])

/** Ids are decimal numbers, longer than a JavaScript number may be one day. */
const isAfter = (id: string, other: string): boolean => id.length === other.length ? id > other : id.length > other.length
const isFinal = (state: State): boolean => state === 'replaced' || state === 'closed' || state === 'denied'
const parse = (text: string): any => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

export function connect <Events extends EventMap = EventMap> (options: ConnectOptions<Events> = {}): Tidings<Events> {
  const { url, ticket, renew, share = 'browser', user = '', schemas } = options
  const changed = createListeners<[]>()
  const incomplete = createListeners<[]>()
  const handlers = createListeners<[event: string, data: any, meta: Meta]>()
  let state: State = 'connecting'
  /** The position: everything up to here was handed over in this tab, or was before its time. */
  let last = ''
  let heartbeatMs = 15_000
  let told = stopwatch()
  let leaderTerm = 0
  let isHere = false
  let isClosed = false

  // On a server, where a page is only rendered, there is nothing to connect to.
  const isInert = globalThis.location === undefined
  const base = new URL(String(url ?? '') || '/', isInert ? 'http://localhost' : globalThis.document?.baseURI ?? location.href)
  if (!base.pathname.endsWith('/')) base.pathname += '/'
  const stream = new URL('api/notifications/subscribe', base)

  const sharing = createSharing({
    name: `tidings ${stream.href} ${user}`,
    isShared: share !== 'tab',
    onLead () {
      line.open(isHere)
      isHere = false
      once.greet()
    },
    onRest: () => line.stop(),
    onMessage: hear
  })
  const once = createOnce({ tab: sharing.tab, isLeader: () => sharing.isLeader, post: sharing.post })
  const line = createLine({
    url: stream,
    ticket,
    renew,
    lastId: () => last,
    onState (next) {
      setState(next)
      tell()
      leaveIfFinal()
    },
    onEvent (received, isReplay) {
      if (isOld(received)) return
      // A leader that has just come does not know what was before: whoever was there may have missed it.
      const before = received.event === 'sync' && parse(received.data).resume === 'fresh' ? received.id : last
      heartbeatMs = line.heartbeatMs
      told = stopwatch()
      // The others first: what a handler does here, they may then hear of.
      sharing.post({ type: 'event', received, isReplay, before }, true)
      accept(received, isReplay)
    }
  })

  function setState (next: State): void {
    if (next === state) return
    state = next
    changed.call()
  }

  function tell (): void {
    told = stopwatch()
    sharing.post({ type: 'state', state, at: last, heartbeatMs }, true)
  }

  /** In `replaced` it goes on listening: when another tab is live again, so is this one. */
  function leaveIfFinal (): void {
    if (isFinal(state)) sharing.leave(state === 'replaced')
  }

  function isOld ({ id, event }: Received): boolean {
    return id !== undefined && event !== 'sync' && last !== '' && !isAfter(id, last)
  }

  function accept (received: Received, isReplay: boolean): void {
    if (isOld(received)) return
    const { id, event, data: text } = received
    // What ends a stream for good has an id that is no position.
    if (id !== undefined && /^\d/.test(id) && (last === '' || isAfter(id, last))) last = id
    let data = parse(text)
    if (event === 'sync' && data.resume === 'incomplete') incomplete.call()
    const schema = schemas !== undefined && Object.hasOwn(schemas, event) ? schemas[event] : undefined
    if (schema !== undefined) {
      const result: any = schema['~standard'].validate(data)
      if (result.issues !== undefined || !('value' in result)) {
        return report(() => { throw new TypeError(`${event}: ${result.issues?.[0]?.message ?? 'its schema must answer at once'}`) })
      }
      data = result.value
    }
    handlers.call(event, data, { id, event, isReplay })
  }

  function hear (message: Message): void {
    const { type, term } = message
    if (type === 'hello' && sharing.isLeader) tell()
    if (type === 'wake' && sharing.isLeader) line.check(true)
    if (type === 'state' && term !== undefined) follow(term, message)
    if (type === 'event' && term !== undefined && !isFinal(state)) {
      const { received, before, isReplay } = message as unknown as { received?: Received, before: unknown, isReplay: unknown }
      if (typeof received?.event !== 'string' || typeof received.data !== 'string') return
      if (last === '') last = String(before)
      if (isAfter(String(before), last)) return fallBehind()
      accept(received, isReplay === true)
    }
    once.hear(message)
  }

  function follow (term: number, message: Message): void {
    const next = message['state'] as State
    const at = String(message['at'])
    if (isFinal(state)) {
      if (state !== 'replaced' || isFinal(next)) return
      sharing.join()
    }
    heartbeatMs = Number(message['heartbeatMs']) || heartbeatMs
    setState(next)
    leaveIfFinal()
    if (term !== leaderTerm) {
      leaderTerm = term
      once.greet()
    }
    if (last === '') last = at
    if (isAfter(at, last)) fallBehind()
  }

  /** What this tab missed only the service knows: it takes the lead, and goes on from its own position. */
  function fallBehind (): void {
    const at = last
    const term = leaderTerm
    setTimeout(() => { if (last === at && term === leaderTerm && !sharing.isLeader) sharing.join(true) }, Math.random() * 50)
  }

  function look (): void {
    if (sharing.isLeader) {
      line.check(false)
      if (told() > BEAT_MS) tell()
    } else if (sharing.isIn && sharing.silentMs() > 2 * heartbeatMs) sharing.join(true)
  }

  /** Something happened that often kills a stream, or brings the network back. */
  function wake (isOtherNetwork = false): void {
    if (sharing.isLeader) line.check(true, isOtherNetwork)
    if (sharing.isLeader || !sharing.isIn || globalThis.document?.hidden) return
    if (sharing.silentMs() > 1.2 * heartbeatMs) sharing.join(true)
    // A leader in a tab that nobody looks at may be slow to notice.
    else sharing.post({ type: 'wake' })
  }

  function rejoin (): void {
    if (isFinal(state) || sharing.isIn) return
    setState('connecting')
    sharing.join()
  }

  const listening = new AbortController()
  let timer: ReturnType<typeof setInterval> | undefined
  function start (): void {
    const listen = (target: EventTarget | undefined, type: string, handler: () => void): void => {
      target?.addEventListener(type, handler, { signal: listening.signal })
    }
    listen(globalThis, 'online', () => wake(true))
    listen(globalThis, 'focus', () => wake())
    // A page that is kept for "back" must hold neither lock nor channel nor stream.
    listen(globalThis, 'pagehide', () => sharing.leave())
    listen(globalThis, 'pageshow', rejoin)
    listen(globalThis.document, 'visibilitychange', () => wake())
    // Frozen, it could not lead. What the others post meanwhile waits for it.
    listen(globalThis.document, 'freeze', () => sharing.leave(true))
    listen(globalThis.document, 'resume', rejoin)
    timer = setInterval(look, LOOK_MS)
    sharing.join()
  }
  if (!isInert) start()

  return {
    get state () { return state },
    subscribe: changed.add,
    on: (wanted, handler) => handlers.add((event, data, meta) =>
      event === wanted || (wanted === '*' && !OWN_EVENTS.has(event)) ? handler(data, meta) : undefined),
    onIncomplete: incomplete.add,
    once: (id, fn) => isInert || isFinal(state) ? Promise.resolve(false) : once.claim(id, fn),
    useHere () {
      if (isInert || isClosed || !isFinal(state)) return
      isHere = true
      setState('connecting')
      sharing.join(true)
    },
    close () {
      isClosed = true
      listening.abort()
      clearInterval(timer)
      sharing.leave()
      setState('closed')
    }
  }
}
