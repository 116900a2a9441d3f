// Makes one of all tabs act: the leader grants an id to the first tab that asks for it, and every tab remembers the
// grant.
import { LISTEN_MS, REMEMBERED } from './limits.ts'
import { report } from './listeners.ts'
import type { Message, Sharing } from './sharing.ts'

export interface Once {
  /** Resolves with whether this tab acted. Without an id, the tab that holds the stream acts. */
  claim: (id: string | undefined, run: () => unknown) => Promise<boolean>
  hear: (message: Message) => void
  /** Called with a new leader. It learns earlier grants, and pending claims are sent again. */
  greet: () => void
  /** Settles all pending claims with false. */
  drop: () => void
}

export function createOnce (sharing: Sharing): Once {
  const granted = new Map<string | undefined, unknown>()
  const waiting = new Map<string | undefined, (isMine: boolean) => void>()
  let mayGrant = Promise.resolve()

  function remember (id: string | undefined, to: unknown): void {
    granted.set(id, to)
    if (granted.size > REMEMBERED) granted.delete(granted.keys().next().value!)
    waiting.get(id)?.(to === sharing.tab)
    waiting.delete(id)
  }

  function ask (id: string | undefined, from: unknown = sharing.tab): void {
    if (!sharing.isLeader) return sharing.post({ type: 'claim', id })
    void mayGrant.then(() => {
      if (!sharing.isLeader) return
      const to = granted.get(id) ?? from
      sharing.post({ type: 'grant', id, to }, true)
      remember(id, to)
    })
  }

  return {
    async claim (id, run) {
      const isMine = id === undefined
        ? sharing.isLeader
        : !granted.has(id) && !waiting.has(id) && await new Promise<boolean>((resolve) => {
            waiting.set(id, resolve)
            // Hidden tabs ask later, since a toast is of more use in a visible tab.
            setTimeout(ask, (globalThis.document?.hidden && 300) as number, id)
          })
      if (isMine) void report(run)
      return isMine
    },
    hear ({ type, id, to, from, ids }) {
      if (type === 'granted') {
        for (const [id, to] of ids as Array<[string, unknown]>) if (!granted.has(id)) remember(id, to)
      }
      if (type === 'claim' && sharing.isLeader) ask(id as string, from)
      if (type === 'grant') remember(id as string, to)
    },
    greet () {
      if (sharing.isLeader) mayGrant = new Promise((resolve) => { setTimeout(resolve, LISTEN_MS) })
      else sharing.post({ type: 'granted', ids: [...granted] })
      for (const id of waiting.keys()) ask(id)
    },
    drop () {
      for (const settle of waiting.values()) settle(false)
      waiting.clear()
    }
  }
}
