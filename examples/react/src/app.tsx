// A bell with a badge, the list that it opens, a price that changes, and what to say when there is no stream.
import { useState } from 'react'
import { useConnection, useInbox, useNotifications } from 'tidings-client/react'

interface Stock { price: number }

export function App () {
  return (
    <main>
      <Connection />
      <Bell />
      <Price />
    </main>
  )
}

function Connection () {
  const { state, useHere } = useConnection()
  if (state === 'replaced') return <p>Active in another place. <button onClick={useHere}>Use here</button></p>
  return <p id='state'>{state}</p>
}

function Bell () {
  const { items, unseen, see, markRead, markUnread, dismiss, hasMore, loadMore } = useInbox()
  const [isOpen, setOpen] = useState(false)
  const toggle = () => {
    setOpen(!isOpen)
    if (!isOpen) see()
  }
  return (
    <section>
      <button id='bell' onClick={toggle}>Notifications {unseen > 0 && <b id='badge'>{unseen >= 100 ? '99+' : unseen}</b>}</button>
      {isOpen && (
        <>
          <button onClick={() => { markRead() }}>All read</button>
          <ol>
            {items.map(({ id, data, isRead }) => (
              <li key={id} style={{ fontWeight: isRead ? 'normal' : 'bold' }}>
                {data.title}
                <button onClick={() => { isRead ? markUnread(id) : markRead(id) }}>{isRead ? 'Unread' : 'Read'}</button>
                <button onClick={() => { dismiss(id) }}>Dismiss</button>
              </li>
            ))}
          </ol>
          {hasMore && <button onClick={() => { loadMore() }}>More</button>}
        </>
      )}
    </section>
  )
}

function Price () {
  const [price, setPrice] = useState<number>()
  useNotifications<Stock>('stock', (stock) => setPrice(stock.price))
  return <p id='price'>{price ?? '–'}</p>
}
