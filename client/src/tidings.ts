// tidings-client: one stream for all tabs of a browser, which survives sleep, renews its credentials, and reports its
// state.
import type { ConnectOptions, EventMap, Tidings } from './api.ts'
import type { Received } from './events.ts'
import { isAfter, isPosition } from './ids.ts'
import { createOnce } from './once.ts'
import { createListeners } from './listeners.ts'
import { createHandlers } from './handlers.ts'
import { createInbox } from './inbox.ts'
import { BEAT_MS, LOOK_MS } from './limits.ts'
import { createSharing, type Message } from './sharing.ts'
import { parse, request } from './request.ts'
import { createLine, type State } from './line.ts'

export type {
  ConnectOptions, EventMap, Handler, Inbox, InboxItem, InboxState, Meta, OwnEvent, Schema, Tidings
} from './api.ts'
export type { State } from './line.ts'

/** `denied`, `replaced` or `closed`: no other state ends with this letter. */
const isFinal = (state: State): boolean => /d$/.test(state)

export function connect <Events extends EventMap = EventMap> (options: ConnectOptions<Events> = {}): Tidings<Events> {
  const { url, share, token } = options
  // Both may come as numbers or null from code without types. Compared with a number, no id is ever the greater one.
  const user = `${options.user ?? ''}`
  const changed = createListeners<[]>()
  const incomplete = createListeners<[]>()
  const handlers = createHandlers((options.schemas ?? {}) as any)
  let state: State = 'connecting'
  /** The position: everything up to here was handed over in this tab, or was published before it opened. */
  let last = `${options.position ?? ''}`
  /** The position with which the latest stream was opened. */
  let opened = ''
  let heartbeatMs = 15_000
  let leaderTerm = 0
  /** The user asks for the stream: a page that opens, or useHere(). Until a tab is live: several may take the lead. */
  let isHere = true

  // During server-side rendering there is nothing to connect to.
  const { document: page, location, origin } = globalThis as Partial<typeof globalThis>
  const base = new URL(url || origin!, page?.baseURI ?? (location as unknown as string | undefined) ?? 'http:x')
  const api = base.href.replace(/\/?([?#].*)?$/, '/api/notifications')

  const sharing = createSharing({
    name: `tidings ${api} ${user}`,
    // Whose token another tab has it cannot know.
    isAlone: share === 'tab' || (!!token && !user),
    onLead () {
      line.open()
      once.greet()
      inbox.greet()
    },
    onRest () {
      line.stop()
      // Another tab leads now, and this one must not take the lead back.
      void leaveIfFinal()
    },
    onMessage: hear
  })
  const once = createOnce(sharing)
  // Each ticket counts as a connect of the user, so requests with tickets are spread more.
  const spreadMs = options.ticket && !token ? 4000 : 1000
  const inbox = createInbox(sharing, (method, path, body) => request(options, api + path, method, body), spreadMs)
  const line = createLine({
    // The service refuses it to another user, whose cookie may be there by now.
    url: `${api}/subscribe${user && '/' + encodeURIComponent(user)}`,
    access: options,
    lastId: () => [(opened = last), isHere],
    beatMs: () => heartbeatMs,
    onState (next) {
      setState(next)
      tell()
      void leaveIfFinal()
    },
    onEvent (received, isReplay) {
      const isSync = received.event === 'sync'
      // The position was not one of this service, so only its own positions count from here on.
      if (isSync && isAfter(opened, received.id!)) last = ''
      // A leader with a fresh stream does not know what was before, so older tabs may have missed something.
      const before = isSync && parse(received.data).resume === 'fresh' ? received.id : last
      // Posted first, so that other tabs get the event before the effects of our handlers.
      sharing.post({ type: 'event', received, isReplay, before }, true)
      accept(received, isReplay)
    }
  })

  function setState (next: State): void {
    // A handler may close the connection while an event is handled that changes the state.
    if (next === state || (listening.signal.aborted && next !== 'closed')) return
    state = next
    // Still connecting or waiting: no other state that goes on by itself has this letter.
    isHere &&= /n/.test(next)
    if (isFinal(next)) once.drop()
    changed.call()
  }

  function tell (): void {
    sharing.post({ type: 'state', state, at: last, heartbeatMs }, true)
  }

  /** After `replaced` it goes on listening: when another tab is live again, so is this one. */
  const leave = (): void => sharing.leave(state === 'replaced')

  /**
   * A leader keeps the lock while another tab waits for it. A tab that got it before it heard of the end would ask the
   * service once more.
   */
  async function leaveIfFinal (): Promise<void> {
    if (isFinal(state) && !await sharing.isAwaited() && isFinal(state)) leave()
  }

  function accept (received: Received, isReplay: boolean): void {
    const { id, event, data: text } = received
    if (isPosition(id)) {
      if (isAfter(id, last)) last = id
      // New, and yet not after the position that the page gave: that is of another service, or wrong.
      else if (event !== 'sync') return (isReplay || fallBehind()) as void
    }
    const data = parse(text)
    if (event === 'sync') {
      heartbeatMs = data.heartbeatSeconds * 1000 || heartbeatMs
      if (data.resume === 'incomplete') incomplete.call()
    }
    inbox.onEvent(event, data, isPosition(id), isReplay || state !== 'live')
    handlers.call(data, { id, event, isReplay })
  }

  function hear (message: Message): void {
    const { type, term } = message
    // A tab that comes after the end asks the service for itself.
    if (sharing.isLeader) {
      if (type === 'hello') isFinal(state) ? leave() : tell()
      if (type === 'wake') line.check(true)
    }
    if (type === 'state' && term) follow(term, message)
    if (type === 'event' && term && !isFinal(state)) {
      const { received, isReplay, before } = message as unknown as { received: Received, before: string, isReplay: boolean }
      if (typeof before !== 'string') return
      // Empty: the position was not a valid one.
      last = before && (last || before)
      if (isAfter(before, last)) return fallBehind()
      accept(received, isReplay)
    }
    once.hear(message)
    inbox.onMessage(message)
  }

  function follow (term: number, message: Message): void {
    const { state: next, at } = message as unknown as { state: State, at: string }
    if (isFinal(state)) {
      if (state !== 'replaced' || isFinal(next)) return
      sharing.join()
    }
    heartbeatMs = +(message as any).heartbeatMs || heartbeatMs
    setState(next)
    void leaveIfFinal()
    if (term !== leaderTerm) {
      leaderTerm = term
      once.greet()
      inbox.greet()
    }
    last ||= at
    // Before it is live, its position may be none: the events tell.
    if (next === 'live' && isAfter(at, last)) fallBehind()
  }

  /** Only the service knows what this tab missed, so this tab takes the lead and goes on from its own position. */
  function fallBehind (): void {
    const term = leaderTerm
    const at = last
    setTimeout(() => {
      if (last !== at || term !== leaderTerm || sharing.isLeader || !sharing.isIn) return
      // This browser has the session, or had it a moment ago.
      isHere = true
      sharing.join(true)
    }, Math.random() * 500)
  }

  function look (): void {
    void leaveIfFinal()
    if (sharing.isLeader) {
      line.check(false)
      if (Math.random() < LOOK_MS / BEAT_MS) tell()
    } else if (sharing.isIn && sharing.silentMs() > 2 * heartbeatMs) sharing.join(true)
  }

  /** Something happened that often kills a stream, or brings the network back. */
  function wake (isOtherNetwork?: boolean): void {
    if (sharing.isLeader) return line.check(true, isOtherNetwork)
    if (!sharing.isIn || page?.hidden) return
    if (sharing.silentMs() > 1.2 * heartbeatMs) sharing.join(true)
    // A leader in a hidden tab may be slow to notice.
    else sharing.post({ type: 'wake' })
  }

  function rejoin (): void {
    // After `replaced` it asks once more, since it did not hear whether another tab of this browser is live again.
    if ((isFinal(state) && state !== 'replaced') || sharing.isIn) return
    // It heard nothing meanwhile, although the same tab may still lead.
    leaderTerm = 0
    sharing.join()
    setState('connecting')
  }

  const listening = new AbortController()
  let timer: ReturnType<typeof setInterval> | undefined
  if (location) {
    // Only those of the page itself: a page's own events, of any of its elements, may have the same names. (Of options
    // only `signal` is needed, and an AbortController has one.)
    const listen = (type: string, handler: () => void, target: EventTarget = globalThis): void => {
      target.addEventListener(type, handler, listening)
    }
    listen('online', () => wake(true))
    // A page in the back/forward cache must hold no lock, channel or stream.
    listen('pagehide', () => sharing.leave())
    listen('pageshow', rejoin)
    listen('visibilitychange', () => wake(), page)
    // A frozen tab cannot lead. Messages of other tabs wait until it resumes.
    listen('freeze', () => sharing.leave(true), page)
    listen('resume', rejoin, page)
    timer = setInterval(look, LOOK_MS)
    sharing.join()
  }

  return {
    get state () { return state },
    inbox: inbox.inbox,
    subscribe: changed.add,
    on: handlers.on,
    onIncomplete: incomplete.add,
    once: async (id, fn) => !!location && !isFinal(state) && once.claim(id, fn),
    useHere () {
      if (listening.signal.aborted || !isFinal(state)) return
      isHere = true
      sharing.join(true)
      // Last, since a listener may close the connection.
      setState('connecting')
    },
    close () {
      listening.abort()
      clearInterval(timer)
      sharing.leave()
      setState('closed')
      handlers.drop()
      inbox.drop()
    }
  }
}
