// Keeps one stream open: opens it, notices when it is dead, waits, and resumes from the last id.
import type { Credentials } from './api.ts'
import { createReader, type Received } from './events.ts'
import { ANSWER_MS, LONGEST_WAIT_MS, SHORT_LIFE_MS, SHORTEST_WAIT_MS } from './limits.ts'
import { report } from './listeners.ts'
import { ask, speakFor, within } from './request.ts'

/**
 * - `connecting`: a stream is being opened, or missed notifications are arriving
 * - `live`: new notifications arrive
 * - `waiting`: the stream was lost; the next attempt comes by itself
 * - `replaced`: the account is active elsewhere (SESSION_POLICY=single)
 * - `closed`: logged out, or closed by the page
 * - `denied`: the service refuses this user (401 even with new credentials, or 403)
 */
export type State = 'connecting' | 'live' | 'waiting' | 'replaced' | 'closed' | 'denied'

export interface LineOptions {
  /** The URL of the stream. */
  readonly url: string
  readonly access: Credentials
  /**
   * The id to resume from, '' on a first visit, and whether the user asks for the stream, so that it may take the
   * session from another tab.
   */
  readonly lastId: () => [id: string, isHere: boolean]
  /** The time between two pings, as the service said. */
  readonly beatMs: () => number
  readonly onEvent: (received: Received, isReplay: boolean) => void
  readonly onState: (state: State) => void
}

export interface Line {
  open: () => void
  /**
   * Checks whether the stream is dead. `isAwake`: something happened that often kills a stream, or brings the network
   * back.
   */
  check: (isAwake: boolean, isOtherNetwork?: boolean) => void
  stop: () => void
}

/**
 * Returns a function that says how many milliseconds have passed. It takes the larger value of two clocks: the
 * monotonic one may stand still during sleep, and the wall clock may be set back.
 */
export function stopwatch (): () => number {
  const since = performance.now()
  const date = Date.now()
  return () => Math.max(performance.now() - since, Date.now() - date)
}

export function createLine ({ url, access, lastId, beatMs, onEvent, onState }: LineOptions): Line {
  const { token, ticket, renew } = access
  let retryMs = 3000
  let failures = 0
  let wasRefused = false
  let isLive = false
  let heard = stopwatch()
  let timer: ReturnType<typeof setTimeout> | undefined
  /** The stream in use, and the one that will replace it while it still runs. */
  let current: AbortController | undefined
  let next: AbortController | undefined

  function stop (): void {
    current?.abort()
    next?.abort()
    timer = current = next = clearTimeout(timer) as undefined
    isLive = false
  }

  function end (state: State): void {
    stop()
    onState(state)
  }

  function wait (ms: number): void {
    stop()
    // Set first, since a listener may close the connection.
    timer = setTimeout(open, Math.max(ms, SHORTEST_WAIT_MS))
    onState('waiting')
  }

  function open (): void {
    stop()
    heard = stopwatch()
    const mine = current = new AbortController()
    onState('connecting')
    void run(mine)
  }

  /** Opens a second stream with new credentials. The first one is closed when the second is live. */
  async function replace (): Promise<void> {
    if (next || !(token ?? ticket ?? renew)) return
    const mine = next = new AbortController()
    await run(mine)
    if (next === mine) next = undefined
  }

  async function run (mine: AbortController): Promise<void> {
    const { signal } = mine
    const address = new URL(url)
    const headers: Record<string, string> = { accept: 'text/event-stream' }
    const [id, isHere] = lastId()
    const isRenewal = mine === next
    let status: number | undefined
    let lastWords: number | undefined
    let lived: (() => number) | undefined
    const isShort = (): boolean => !lived || lived() < SHORT_LIFE_MS

    const read = createReader({
      retry: (ms) => { lastWords = ms },
      onEvent (received) {
        if (signal.aborted) return
        const { event } = received
        const sync = event === 'sync' && JSON.parse(received.data)
        // With `more` it only reports a gap: the rest of the history follows, and then another sync.
        if (sync && !sync.more) {
          retryMs = lastWords ?? retryMs
          lastWords = undefined
          wasRefused = false
          if (mine === next) {
            current?.abort()
            current = next
            next = undefined
          }
          isLive = true
          // The node sends another one if this stream may have missed something.
          onEvent(received, !!lived)
          lived = stopwatch()
          if (mine === current) onState('live')
          return
        }
        if (event === 'replaced' || event === 'closed') {
          // With SESSION_POLICY=single our own next stream replaces this one, which is no news.
          if (!next || event === 'closed') {
            onEvent(received, false)
            end(event)
          }
          return
        }
        // Right after a renewal, it means that the renewal brought the old token again, as the next one would.
        if (event === 'expiring' && !(isRenewal && isShort())) void replace()
        onEvent(received, !lived)
      }
    })

    try {
      if (renew && (wasRefused || isRenewal)) await report(() => within(renew))
      if (ticket) address.searchParams.set('ticket', await ask(ticket))
      // The header means "the same visitor, back again"; the parameter takes the session over.
      if (id) isHere ? address.searchParams.set('lastEventId', id) : headers['last-event-id'] = id
      if (!signal.aborted) {
        const init: RequestInit = ticket ? { headers, credentials: 'omit' } : await speakFor(access, headers)
        // The functions of the page have had their time. From here on it is the network's.
        if (mine === current) heard = stopwatch()
        const response = await fetch(address, { ...init, cache: 'no-store', signal })
        status = response.status
        if (/event-stream/.test(response.headers.get('content-type')!)) {
          const bytes = response.body!.getReader()
          const decoder = new TextDecoder()
          for (let piece; !(piece = await bytes.read()).done && !signal.aborted;) {
            if (mine === current) heard = stopwatch()
            read(decoder.decode(piece.value, { stream: true }))
          }
        }
      }
    } catch {
      // The connection broke, or there was no ticket. Both are handled below.
    }
    // Also if it was stopped: then there is no current one, or another.
    if (mine !== current) return
    if (next) {
      current = next
      next = undefined
      isLive = false
      return onState('connecting')
    }
    if (status === 204) return end('replaced')
    if (status === 401 || status === 403) {
      wasRefused = status === 401 && !wasRefused
      return wasRefused ? wait(jitter(1000)) : end('denied')
    }
    // The service said when to come back, with jitter: up to 4.5 s with the default RETRY_MS. If the stream was live,
    // the service ends its streams spread over time already, and this client promises 3 s, so a third is enough.
    if (lastWords !== undefined) return wait(lived ? lastWords / 3 : lastWords)
    failures = +isShort() && failures + 1
    wait(jitter(failures < 2 ? Math.min(retryMs, 1000) : Math.min(retryMs * 2 ** (failures - 2), LONGEST_WAIT_MS)))
  }

  return {
    open,
    stop,
    check (isAwake, isOtherNetwork) {
      if (timer ? isAwake : current && heard() >= (isLive ? isOtherNetwork ? 0 : beatMs() * (isAwake ? 1.2 : 2) : ANSWER_MS)) open()
    }
  }
}

/** 50 to 100 % of a time, so that clients that lost their streams together do not come back together. */
export const jitter = (ms: number): number => ms * (1 + Math.random()) / 2
