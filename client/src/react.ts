// tidings-client/react: hooks for React. All components share the one connection that the page made.
import { createContext, createElement, type ReactElement, type ReactNode, useContext, useEffect, useRef, useState, useSyncExternalStore } from 'react'
import type { EventMap, Handler, Inbox, InboxState, State, Tidings } from './tidings.ts'

const Context = createContext<Tidings<any> | undefined>(undefined)

const EMPTY: InboxState = { items: [], unseen: 0, unread: 0, seen: '', read: '', isLoaded: false, hasMore: false, isComplete: true }
const nothing = (): void => {}

export interface TidingsProviderProps {
  /**
   * A connection that was made outside of components, or a function that makes one. The function is called when the
   * provider mounts, and the connection is closed when it unmounts, for example at a logout. (Strict Mode mounts twice
   * and makes one.)
   */
  readonly client: Tidings<any> | (() => Tidings<any>)
  readonly children?: ReactNode
}

/** Returns an element, since TypeScript before 5.1 takes no component that returns a `ReactNode`. */
export function TidingsProvider ({ client, children }: TidingsProviderProps): ReactElement {
  const [made, setMade] = useState<Tidings<any>>()
  const kept = useRef<{ tidings: Tidings<any>, closing?: ReturnType<typeof setTimeout> } | undefined>(undefined)
  useEffect(() => {
    if (typeof client !== 'function') return
    if (kept.current === undefined) kept.current = { tidings: client() }
    else clearTimeout(kept.current.closing)
    setMade(kept.current.tidings)
    return () => {
      // Later, since Strict Mode unmounts and mounts again at once.
      const mine = kept.current!
      mine.closing = setTimeout(() => {
        mine.tidings.close()
        if (kept.current === mine) kept.current = undefined
      })
    }
    // A new function in a later render does not make a new connection.
  }, [typeof client === 'function'])
  return createElement(Context.Provider, { value: typeof client === 'function' ? made : client }, children)
}

/** The connection; undefined while it is being made, and on a server. */
export function useTidings <Events extends EventMap = EventMap> (): Tidings<Events> | undefined {
  return useContext(Context)
}

/** The state, and `useHere` for states that do not end by themselves. */
export function useConnection (): { state: State, useHere: () => void } {
  const tidings = useContext(Context)
  const state = useSyncExternalStore<State>(tidings?.subscribe ?? never, () => tidings?.state ?? 'connecting', () => 'connecting')
  return { state, useHere: tidings?.useHere ?? nothing }
}

/** Calls the latest `handler` for each notification with this event name, or for all with `*`. */
export function useNotifications <Data = any> (event: string, handler: Handler<Data>): void {
  const tidings = useContext(Context)
  const newest = useRef(handler)
  useEffect(() => { newest.current = handler })
  useEffect(() => tidings?.on(event, (data, meta) => newest.current(data, meta)), [tidings, event])
}

/** The current inbox, and the user's actions on it. */
export function useInbox (): InboxState & Pick<Inbox, 'loadMore' | 'see' | 'markUnread' | 'dismiss'> & { markRead: Inbox['read'] } {
  const inbox = useContext(Context)?.inbox
  const state = useSyncExternalStore(inbox?.subscribe ?? never, () => inbox?.state ?? EMPTY, () => EMPTY)
  const { loadMore, see, markUnread, dismiss, read: markRead } = inbox ?? NOBODY
  return { ...state, loadMore, see, markUnread, dismiss, markRead }
}

const never = (): () => void => nothing
const later = async (): Promise<void> => {}
const NOBODY = { loadMore: later, see: later, markUnread: later, dismiss: later, read: later }
