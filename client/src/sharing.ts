// Elects the tab that holds the stream, by a Web Lock, and connects the tabs by a BroadcastChannel.
//
// Each leader has a term that is greater than every earlier one. Its messages carry the term, and a tab that has heard
// of a greater term ignores smaller ones: a leader that was frozen and wakes up still takes itself for the leader until
// it hears of its successor.
import { stopwatch } from './line.ts'

/** A message between tabs. Other code of the origin may post to the channel too, so every field must be checked. */
export interface Message {
  readonly type: string
  readonly from: unknown
  /** Only in messages of a leader. */
  readonly term?: number
  readonly [field: string]: unknown
}

export interface SharingOptions {
  /** The name of the lock and the channel. */
  readonly name: string
  /** This tab does not share a stream. */
  readonly isAlone: boolean
  readonly onLead: () => void
  /** Called when this tab no longer leads. */
  readonly onRest: () => void
  readonly onMessage: (message: Message) => void
}

export interface Sharing {
  readonly tab: number
  readonly isLeader: boolean
  /** It leads, or waits for the lock. */
  readonly isIn: unknown
  /** Gives the lock up and stops listening; with `stays` it goes on listening. */
  leave: (stays?: boolean) => void
  /** Waits for the lock; with `steals` it takes the lock from its holder. */
  join: (steals?: boolean) => void
  /** Sends a message to the other tabs. `asLeader`: with the term, so that tabs which know a later term ignore it. */
  post: (message: { type: string, [field: string]: unknown }, asLeader?: boolean) => void
  /** Milliseconds since the leader was last heard. */
  silentMs: () => number
  /** It leads, and another tab waits for the lock. */
  isAwaited: () => Promise<unknown>
}

export function createSharing ({ name, isAlone, onLead, onRest, onMessage }: SharingOptions): Sharing {
  const tab = Math.random()
  const locks = globalThis.navigator?.locks
  let channel: BroadcastChannel | undefined
  let isLeader = false
  let term = 0
  let heard = stopwatch()
  /** This tab's latest request for the lock, and the function that gives the lock back. */
  let request: AbortController | undefined
  let release: (() => void) | undefined

  function lead (): void {
    isLeader = true
    // From the clock, so that it exceeds the term of leaders of which this tab never heard.
    term = Math.max(term + 1, Date.now())
    onLead()
  }

  function rest (): void {
    if (!isLeader) return
    isLeader = false
    release?.()
    onRest()
  }

  function queue (steal?: boolean): void {
    const mine = request = new AbortController()
    const held = locks.request(name, steal ? { steal } : { signal: mine.signal }, () => {
      if (mine !== request) return
      return new Promise<void>((resolve) => {
        // Set first, since `lead` may give the lock back.
        release = resolve
        lead()
      })
    })
    held.catch((error: unknown) => {
      if (mine !== request) return
      if ((error as Error).name === 'AbortError') {
        // Another tab stole the lock, because this one was silent or it missed something.
        rest()
        queue()
      } else alone() // a sandboxed page may not use locks
    })
  }

  function alone (): void {
    channel = channel?.close() as undefined
    // Also if it still leads: a listener may call useHere() as soon as it hears of the end.
    lead()
  }

  function withdraw (): void {
    request = request?.abort() as undefined
    rest()
  }

  function hear ({ data }: MessageEvent): void {
    if (data?.tidings !== 1) return
    if (data.term) {
      // The limit leaves room for the next term, which is greater by one.
      if (!(data.term >= term) || data.term > 9e15) return
      heard = stopwatch()
      if (data.term > term) {
        term = data.term
        if (isLeader) {
          rest()
          queue()
        }
      }
    }
    try {
      onMessage(data)
    } catch {
      // The message was posted by other code: ours are well formed, and errors of listeners are reported elsewhere.
    }
  }

  function post (message: { type: string, [field: string]: unknown }, asLeader?: boolean): void {
    channel?.postMessage({ ...message, tidings: 1, from: tab, term: asLeader && term })
  }

  return {
    tab,
    get isLeader () { return isLeader },
    get isIn () { return isLeader || request },
    leave (stays) {
      withdraw()
      if (!stays) channel = channel?.close() as undefined
    },
    join (steals) {
      if (request && !steals) return
      heard = stopwatch()
      try {
        if (isAlone || !locks) return alone()
        channel ??= new BroadcastChannel(name)
      } catch {
        return alone()
      }
      channel.onmessage = hear
      request?.abort()
      queue(steals)
      post({ type: 'hello' })
    },
    post,
    silentMs: () => heard(),
    async isAwaited () {
      return isLeader && channel && (await locks.query()).pending!.some((one) => one.name === name)
    }
  }
}
