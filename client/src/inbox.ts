// The inbox as all tabs show it: one list and four absolute values. The user's actions change it at once; the service's
// answers correct it.
import type { Inbox, InboxState } from './api.ts'
import { isAfter } from './ids.ts'
import { ASK_AGAIN_MS, MOST_COUNTED, PAGE, REFUSED_MS } from './limits.ts'
import { jitter } from './line.ts'
import { createListeners, type Listeners } from './listeners.ts'
import type { Sharing } from './sharing.ts'

/** Sends a request. Rejects if the answer is not 2xx. `path`: relative to …/api/notifications */
export type Ask = (method: string, path: string, body?: object) => Promise<any>

/**
 * The items, without what is among the others: the same notification by the same address, or a newer one with the key
 * of an older one.
 */
const without = (items: readonly any[], others: readonly any[]): any[] => items.filter((item) => others.every((one) =>
  item.to !== one.to || (item.id !== one.id && (item.key !== one.key || !item.key || isAfter(item.id, one.id)))
))

const newest = (one: string, other: string): string => one && isAfter(one, other) ? one : other

/** `spreadMs`: fetches are spread over this time, since many clients get the same event at the same moment. */
export function createInbox (sharing: Sharing, request: Ask, spreadMs: number) {
  const changed: Listeners<[]> = createListeners()
  let state: { -readonly [Name in keyof InboxState]: InboxState[Name] } = { items: [], seen: '', read: '', unseen: 0, unread: 0, hasMore: false, isLoaded: false, isComplete: true }
  /** The list is used, in this tab or another. */
  let isWanted = false
  let timer: ReturnType<typeof setTimeout> | undefined
  let again: ReturnType<typeof setTimeout> | undefined
  /** Changes may have been missed, so items that the next page lacks are dropped. */
  let isStale = false
  /**
   * The latest retractions. What they took back may still come in an answer from before. Such an answer counts all the
   * same: where retractions come fast, each answer is from before one.
   */
  let gone: any[] = []
  /**
   * The latest request of this tab whose answer is shown, or came too late. If no change came after it, the list has
   * what the counts count.
   */
  let shown = 0
  /** Counts changes and requests for the list, in one order. */
  let count = 0
  /** The latest change. An answer to a request from before it is outdated. */
  let change = 0
  /**
   * By action: the error of the last second, or the cursor that the service took, which never moves back. Neither is
   * sent again, since a listener may act each time it is called. By the id of a notification (`undefined` for
   * the cursors): the latest request.
   */
  const past: Record<string, any> = {}
  /** The loadMore() that is under way. Calls until its end share it, so they load one page together. */
  let older: Promise<void> | undefined

  function set (next: Partial<InboxState>): void {
    state = { ...state, ...next }
    state.items = without(state.items, gone)
    changed.call()
  }

  /**
   * Applies what `sync`, `read` and the service's answers have in common. A service without the inbox only sends
   * `unread`.
   */
  function take (values: any, items = state.items, more?: Partial<InboxState>): void {
    const read = newest(values.read, state.read)
    if (read !== state.read) items = items.map((item) => item.isRead || isAfter(item.id, read) ? item : { ...item, isRead: true })
    for (const { id, isRead, dismissed } of values.changed ?? []) {
      items = items.flatMap((item) => item.id !== id ? item : dismissed ? [] : { ...item, isRead })
    }
    set({
      items: [...values.notifications ?? [], ...items],
      read,
      seen: newest(values.seen, state.seen),
      unseen: values.unseen ?? 0,
      unread: values.unread ?? 0,
      ...more
    })
  }

  /** Replaces the part of the list that the newest page covers. */
  function merge (page: any): void {
    const { notifications, next } = page
    // Throws if it is no list, before anything has changed: other code may post, too.
    const last = notifications.flat().at(-1)?.id ?? next
    // If the page does not reach the list, there is a hole, and the old items are dropped.
    const isJoined = next && !isStale && !isAfter(last, state.items[0]?.id ?? '')
    const older = without(state.items.filter((item) => isJoined && isAfter(last, item.id)), notifications)
    // The page and its cursors count as they are: one below the cursor may be unread again, and what this tab expected
    // may have been refused.
    take(page, older, { seen: page.seen, read: page.read, isLoaded: true, hasMore: isJoined ? state.hasMore : !!next, isComplete: page.complete })
    isStale = false
  }

  /** Fetches the list, and tries again later. `isAsked`: rejects, too, since nothing can be done without the list. */
  async function load (isAsked?: boolean): Promise<void> {
    const mine = ++count
    clearTimeout(again)
    try {
      const page = await request('GET', `?limit=${PAGE}`)
      // Answers may come in another order than the requests.
      if (mine <= shown) return
      // Only a leader that has a list can wait, as nobody else asks again.
      if (mine < change) return sharing.isLeader && state.isLoaded ? later() : load(isAsked)
      shown = mine
      merge(page)
      // Other tabs get the pages of one tab only, which has them in order.
      if (sharing.isLeader) sharing.post({ type: 'inbox', page })
    } catch (error) {
      // 404: a service without the inbox. It is asked again with the next stream.
      if ((error as { statusCode?: number } | undefined)?.statusCode !== 404) {
        again = setTimeout(() => { if (sharing.isIn) void load() }, jitter(ASK_AGAIN_MS))
        if (isAsked) throw error
      }
    }
  }

  async function loadOlder (): Promise<void> {
    if (!state.isLoaded) return want()
    const last = state.items.at(-1)?.id
    const before = change
    let next = last
    let page
    // A page may be empty without being the last one, if its notifications were dismissed or have expired.
    do {
      page = await request('GET', `?limit=${PAGE}${next ? `&before=${next}` : ''}`)
      next = page.next
    } while (next && !page.notifications.length)
    // Otherwise it may no longer continue the list, or not say what is read.
    if (state.items.at(-1)?.id !== last || before !== change) return loadOlder()
    // What came meanwhile may have taken the place of something in the page.
    set({ items: [...state.items, ...without(page.notifications, state.items)], hasMore: !!next, isComplete: page.complete })
  }

  function want (): void {
    if (isWanted) return
    isWanted = true
    renew()
  }

  /** The leader fetches for all tabs. */
  function later (withinMs = spreadMs): void {
    if (!isWanted || !sharing.isLeader) return
    timer ??= setTimeout(() => {
      timer = undefined
      if (sharing.isLeader) void load()
    }, Math.random() * withinMs)
  }

  /** What this tab has may be outdated. */
  function renew (): void {
    isStale = true
    later(0)
    // Of a leader, it tells the others that the list is used.
    if (isWanted) sharing.post({ type: 'inbox?' })
  }

  /** Shows the expected result at once, sends the request, and then shows the real result. */
  async function act (method: string, path: string, guess: object, upTo?: string, id?: string): Promise<void> {
    const what = method + path + upTo
    if (past[what]) {
      if (upTo === past[what]) return
      throw past[what]
    }
    const before = change = ++count
    const old = state
    take({ ...state, ...guess })
    try {
      // After the one before it for the same notification, which may still wait for its token: the last click counts.
      const answer = await (past[id!] = Promise.resolve(past[id!]).catch(() => {}).then(() => request(method, `/${path}`, upTo as undefined && { upTo })))
      past[what] = upTo
      // Otherwise the stream has brought something newer, and will bring more.
      if (before === change) take(answer)
    } catch (error) {
      past[what] = error
      setTimeout(() => { past[what] = 0 }, REFUSED_MS)
      if (before === change) set(old)
      isWanted = isStale = true
      void load()
      throw error
    }
  }

  /** Marks one notification as read, unread again, or dismissed. */
  async function mark (id: string, isRead?: boolean, dismissed?: boolean): Promise<void> {
    const isUnread = state.items.some((item) => item.id === id && !item.isRead)
    // Unchanged at none, too: what has expired is counted no more, but may still be in the list.
    const less = (many: number, isOneLess?: boolean): number => isOneLess && many % MOST_COUNTED ? many - 1 : many
    await act(isRead ? 'PUT' : 'DELETE', encodeURIComponent(id) + (dismissed ? '' : '/read'), {
      changed: [{ id, isRead, dismissed }],
      unread: less(state.unread, isUnread) + +(isRead === false),
      unseen: less(state.unseen, dismissed && isUnread && isAfter(id, state.seen))
    }, undefined, id)
  }

  const inbox: Inbox = {
    get items () { return state.items },
    get unseen () { return state.unseen },
    get unread () { return state.unread },
    get hasMore () { return state.hasMore },
    get state () { return state },
    subscribe (listener) {
      want()
      return changed.add(listener)
    },
    loadMore: () => (older ??= loadOlder().finally(() => { older = undefined })),
    async see () {
      // The badge may be shown before the list, and before what it counts is in the list. A click on it means what the
      // service lists now.
      if (!state.isLoaded || (shown <= change && state.unseen && !isAfter(state.items[0]?.id ?? '', state.seen))) await load(true)
      const upTo = state.items[0]?.id
      if (upTo && (state.unseen || isAfter(upTo, state.seen))) await act('PUT', 'seen', { seen: upTo, unseen: 0 }, upTo)
    },
    async read (...args: any[]) {
      const [what] = args
      // An explicit undefined, as the id of a notification without one, does not mean "all". The service refuses it.
      if (args.length && !what?.upTo) return mark(what, true)
      if (!state.isLoaded || (shown <= change && state.unread && !state.items.some(({ isRead }) => !isRead))) await load(!what)
      const upTo = what?.upTo ?? state.items[0]?.id ?? ''
      const above = state.items.filter(({ id }) => isAfter(id, upTo))
      if (upTo) {
        await act('PUT', 'read', {
          seen: upTo, read: upTo, unseen: Math.min(state.unseen, above.length), unread: above.filter(({ isRead }) => !isRead).length
        }, upTo)
      }
    },
    markUnread: (id) => mark(id, false),
    dismiss: (id) => mark(id, 0 as any, true)
  }

  return {
    inbox,
    drop: changed.drop,
    /**
     * Handles an event of the stream, in every tab. `mayList`: a notification that may be in the list, or `sync`.
     * `wasLost`: there was no stream before it, or that stream may have missed something.
     */
    onEvent (event: string, data: any, mayList: boolean, wasLost: boolean): void {
      if (event === 'sync' || event === 'read') {
        // A fresh stream starts together with the first list, so nothing was missed.
        isStale ||= wasLost && data.resume !== 'fresh'
        change = ++count
        take(data)
      } else if (event === 'retracted') {
        gone = [data, ...gone.slice(0, PAGE)]
        set({})
        mayList = true
      }
      if (mayList) later()
    },
    onMessage ({ type, page }: { type: string, page?: unknown }): void {
      if (type === 'inbox') {
        merge(page)
        // Requests of this tab that are under way may be older.
        shown = count
      }
      if (type !== 'inbox?') return
      isWanted = true
      if (!sharing.isLeader) return
      if (!state.isLoaded) return later(0)
      sharing.post({ type: 'inbox', page: { ...state, items: 0, notifications: state.items.slice(0, PAGE), next: state.hasMore || state.items[PAGE], complete: state.isComplete } })
    },
    /** Called with a new leader, which does not know the list yet. */
    greet: renew
  }
}
