// Who of the tabs holds the stream, and how they speak: a Web Lock elects, a BroadcastChannel tells the rest.
//
// A leader has a term, greater than every term before it. What it posts carries the term, and a tab that has heard of a
// greater one listens to no smaller one: a leader that was frozen and wakes up still believes in itself, until it hears
// of its successor.
import { stopwatch } from './line.ts'

/** Anything that is posted. Other code of the origin may post to the channel too, so nothing is believed unread. */
export interface Message {
  readonly type: string
  readonly from: unknown
  /** Present on what only a leader says. */
  readonly term?: number
  readonly [field: string]: unknown
}

export interface SharingOptions {
  /** Of the lock and the channel. */
  readonly name: string
  /** False: this tab is alone, by its own wish. */
  readonly isShared: boolean
  readonly onLead: () => void
  /** It does not lead any more. */
  readonly onRest: () => void
  readonly onMessage: (message: Message) => void
}

export interface Sharing {
  readonly tab: number
  readonly isLeader: boolean
  /** It leads, or stands in the queue. */
  readonly isIn: boolean
  /** Leaves the lock to others and hears nothing more; `stays`: goes on listening. */
  leave: (stays?: boolean) => void
  /** Stands in the queue for the lock; `steals`: takes it from whoever has it. */
  join: (steals?: boolean) => void
  /** `asLeader`: is believed by the others only if nobody of a later term has spoken. */
  post: (message: { type: string, [field: string]: unknown }, asLeader?: boolean) => void
  /** Milliseconds since the leader was heard of. */
  silentMs: () => number
  /** It leads, and another tab stands in the queue. */
  isAwaited: () => Promise<boolean>
}

export function createSharing ({ name, isShared, onLead, onRest, onMessage }: SharingOptions): Sharing {
  const tab = Math.random()
  const locks = globalThis.navigator?.locks
  let channel: BroadcastChannel | undefined
  let isLeader = false
  let term = 0
  let heard = stopwatch()
  /** The request for the lock that this tab has made last, and how to give the lock back. */
  let request: AbortController | undefined
  let release: (() => void) | undefined

  function lead (): void {
    isLeader = true
    // By the clock, so that it is greater than that of a leader of whom this tab never heard.
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
        // First, since what is called may give the lock back.
        release = resolve
        lead()
      })
    })
    held.catch((error: unknown) => {
      if (mine !== request) return
      if ((error as Error).name === 'AbortError') {
        // Stolen: somebody found this tab silent, or missed something.
        rest()
        queue()
      } else alone() // A sandboxed page may not ask for locks.
    })
  }

  function alone (): void {
    channel?.close()
    channel = undefined
    if (!isLeader) lead()
  }

  function withdraw (): void {
    request?.abort()
    request = undefined
    rest()
  }

  function hear ({ data }: MessageEvent): void {
    if (data?.tidings !== 1) return
    if (data.term) {
      // Far below what a number can hold, since the next term is greater by one.
      if (!(data.term >= term && data.term < 9e15)) return
      heard = stopwatch()
      if (data.term > term) {
        term = data.term
        if (isLeader) {
          withdraw()
          queue()
        }
      }
    }
    try {
      onMessage(data)
    } catch {
      // Other code's: ours is well formed, and what listeners throw is reported by itself.
    }
  }

  function post (message: { type: string, [field: string]: unknown }, asLeader?: boolean): void {
    channel?.postMessage({ ...message, tidings: 1, from: tab, ...(asLeader && { term }) })
  }

  return {
    tab,
    get isLeader () { return isLeader },
    get isIn () { return isLeader || !!request },
    leave (stays) {
      withdraw()
      if (stays) return
      channel?.close()
      channel = undefined
    },
    join (steals) {
      if (request && !steals) return
      heard = stopwatch()
      try {
        if (!isShared || !locks) return alone()
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
      return isLeader && !!channel && (await locks.query()).pending!.some((one) => one.name === name)
    }
  }
}
