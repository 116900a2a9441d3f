// The bell of one device: a badge with what is new, and the list that it opens

function button (text, act) {
  const made = document.createElement('button')
  made.type = 'button'
  made.className = 'small'
  made.textContent = text
  // What the service refuses, the module takes back; the list shows it
  made.onclick = () => { act().catch(() => {}) }
  return made
}

export class Bell {
  #bell
  #badge
  #box
  #list
  #more
  #inbox

  /** `name`: whose bell it is. `inbox()` is the inbox of now. */
  constructor (root, { name, inbox }) {
    const part = (selector) => root.querySelector(selector)
    this.#bell = part('.bell')
    this.#badge = part('.badge')
    this.#box = part('.inbox')
    this.#list = part('.inbox ol')
    this.#inbox = inbox
    this.#bell.setAttribute('aria-label', `Notifications of ${name}`)
    this.#bell.onclick = () => {
      this.#box.hidden = !this.#box.hidden
      this.#bell.setAttribute('aria-expanded', !this.#box.hidden)
      if (!this.#box.hidden) this.#inbox().see().catch(() => {})
    }
    this.#more = button('More', () => this.#inbox().loadMore())
    this.#box.append(button('All read', () => this.#inbox().read()), this.#more)
  }

  show (inbox) {
    const { items, unseen, unread, hasMore } = inbox
    this.#badge.hidden = unseen === 0
    this.#badge.textContent = unseen >= 100 ? '99+' : unseen
    this.#bell.title = `${unread >= 100 ? '99+' : unread} unread`
    this.#more.hidden = !hasMore
    this.#list.replaceChildren(...items.map(({ id, event, data, isRead }) => {
      const item = document.createElement('li')
      item.dataset.read = isRead
      const title = document.createElement('span')
      title.textContent = typeof data?.title === 'string' ? data.title : event
      item.append(
        title,
        isRead ? button('Unread', () => inbox.markUnread(id)) : button('Read', () => inbox.read(id)),
        button('Dismiss', () => inbox.dismiss(id))
      )
      return item
    }))
  }
}
