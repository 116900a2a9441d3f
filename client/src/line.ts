// Keeps one stream open: opens it, notices when it is dead, waits, and opens it again from the last id.
import type { Credentials } from './api.ts'
import { createReader, type Received } from './events.ts'
import { ANSWER_MS, LONGEST_WAIT_MS, SHORT_LIFE_MS, SHORTEST_WAIT_MS } from './limits.ts'
import { ask, speakFor, within } from './request.ts'

/**
 * - `connecting`: a stream is being opened, or what was missed is arriving
 * - `live`: what is published from here on arrives
 * - `waiting`: it was lost; the next try comes by itself
 * - `replaced`: the account is active elsewhere (SESSION_POLICY=single)
 * - `closed`: logged out, or closed by the page
 * - `denied`: the service does not let this user in (401 after a fresh ticket, or 403)
 */
export type State = 'connecting' | 'live' | 'waiting' | 'replaced' | 'closed' | 'denied'

export interface LineOptions {
  /** Of the stream. */
  readonly url: string
  readonly credentials: Credentials
  /** Where to go on from; empty for a first visit. */
  readonly lastId: () => string
  /** Between two pings, as the service said. */
  readonly beatMs: () => number
  readonly onEvent: (received: Received, isReplay: boolean) => void
  readonly onState: (state: State) => void
}

export interface Line {
  /** Opens a stream. `isHere`: it is the user who asks for it, so it may take the session from another tab. */
  open: (isHere?: boolean) => void
  /**
   * Looks whether the stream is dead. `isAwake`: something happened that often kills a stream, or brings the network
   * back.
   */
  check: (isAwake: boolean, isOtherNetwork?: boolean) => void
  stop: () => void
}

/**
 * Milliseconds since something, by the clock that shows the larger number: one stands still during sleep, the other may
 * be set back.
 */
export function stopwatch (): () => number {
  const since = performance.now()
  const date = Date.now()
  return () => Math.max(performance.now() - since, Date.now() - date)
}

export function createLine ({ url, credentials, lastId, beatMs, onEvent, onState }: LineOptions): Line {
  const { token, ticket, renew } = credentials
  let retryMs = 3000
  let failures = 0
  let wasRefused = false
  let isLive = false
  let heard = stopwatch()
  let timer: ReturnType<typeof setTimeout> | undefined
  /** The stream that counts, and the one that is to take its place while that still runs. */
  let current: AbortController | undefined
  let next: AbortController | undefined

  function stop (): void {
    clearTimeout(timer)
    current?.abort()
    next?.abort()
    timer = current = next = undefined
    isLive = false
  }

  function end (state: State): void {
    stop()
    onState(state)
  }

  function wait (ms: number): void {
    end('waiting')
    timer = setTimeout(open, Math.max(ms, SHORTEST_WAIT_MS))
  }

  function open (isHere?: boolean): void {
    end('connecting')
    heard = stopwatch()
    current = new AbortController()
    void run(current, isHere)
  }

  /** A second stream with a fresh ticket; the first one goes when the second is live. */
  async function replace (): Promise<void> {
    if (next || !(token ?? ticket ?? renew)) return
    const mine = next = new AbortController()
    await run(mine)
    if (next === mine) next = undefined
  }

  async function run (mine: AbortController, isHere?: boolean): Promise<void> {
    const { signal } = mine
    const address = new URL(url)
    const headers: Record<string, string> = { accept: 'text/event-stream' }
    const id = lastId()
    const isRenewal = mine === next
    let status = 0
    let lastWords: number | undefined
    let lived: (() => number) | undefined
    const isShort = (): boolean => !lived || lived() < SHORT_LIFE_MS

    const read = createReader({
      retry: (ms) => { lastWords = ms },
      event (received) {
        if (signal.aborted) return
        const { event, data } = received
        const sync = event === 'sync' && JSON.parse(data)
        // One with `more` tells of a gap: what is left of the history follows it, and another sync.
        if (sync && !sync.more) {
          retryMs = lastWords ?? retryMs
          lastWords = undefined
          lived = stopwatch()
          wasRefused = false
          if (mine === next) {
            current?.abort()
            current = next
            next = undefined
          }
          isLive = true
          onEvent(received, false)
          if (mine === current) onState('live')
          return
        }
        if (event === 'replaced' || event === 'closed') {
          // With SESSION_POLICY=single the next stream takes over from this one: no news to anybody.
          if (!next || event === 'closed') {
            onEvent(received, false)
            end(event)
          }
          return
        }
        // Said at once, after a renewal: that brought the old token again, and so would the next one.
        if (event === 'expiring' && !(isRenewal && isShort())) void replace()
        onEvent(received, !lived)
      }
    })

    try {
      if (renew && (wasRefused || isRenewal)) await within(renew).catch(reportError)
      if (ticket) address.searchParams.set('ticket', await ask(ticket))
      // The header says "the same visitor, back again"; the parameter takes the session over.
      if (id) isHere ? address.searchParams.set('lastEventId', id) : headers['last-event-id'] = id
      if (!signal.aborted) {
        const init: RequestInit = ticket ? { headers, credentials: 'omit' } : await speakFor(credentials, headers)
        const response = await fetch(address, { ...init, signal, cache: 'no-store' })
        status = response.status
        if (status === 200 && /event-stream/.test(response.headers.get('content-type')!)) {
          const bytes = response.body!.getReader()
          const decoder = new TextDecoder()
          for (let piece; !(piece = await bytes.read()).done && !signal.aborted;) {
            if (mine === current) heard = stopwatch()
            read(decoder.decode(piece.value, { stream: true }))
          }
        }
      }
    } catch {
      // The line broke, or there was no ticket: it ends, as below.
    }
    if (signal.aborted || mine !== current) return
    if (next) {
      current = next
      next = undefined
      isLive = false
      return onState('connecting')
    }
    if (status === 204) return end('replaced')
    if (status === 401 && !wasRefused) {
      wasRefused = true
      return wait(jitter(1000))
    }
    if (status === 401 || status === 403) {
      wasRefused = false
      return end('denied')
    }
    // The service said itself when to come back, to each client something else: up to 4.5 s with RETRY_MS as it is by
    // default. Streams that end are spread already, and three seconds are promised.
    if (lastWords !== undefined) return wait(lastWords / (lived ? 3 : 1))
    failures = isShort() ? failures + 1 : 0
    wait(jitter(failures < 2 ? Math.min(retryMs, 1000) : Math.min(retryMs * 2 ** (failures - 2), LONGEST_WAIT_MS)))
  }

  return {
    open,
    stop,
    check (isAwake, isOtherNetwork) {
      if (timer && isAwake) return open()
      if (current && (heard() > (isLive ? beatMs() * (isAwake ? 1.2 : 2) : ANSWER_MS) || (isOtherNetwork && isLive))) open()
    }
  }
}

/** 50 to 100 %: who lost their streams together do not come back together. */
export function jitter (ms: number): number {
  return ms * (0.5 + Math.random() / 2)
}
