// The bell of one device: a badge with what is new, and the list that it opens

/** `about`: what the button is for, which its text alone does not say. */
function button (text, act, about = '') {
  const made = document.createElement('button')
  made.type = 'button'
  made.className = 'small'
  made.textContent = text
  if (about !== '') made.setAttribute('aria-label', `${text}: ${about}`)
  // What the service refuses, the module takes back; the list shows it
  made.onclick = () => { act().catch(() => {}) }
  return made
}

export class Bell {
  #bell
  #badge
  #box
  #list
  #empty
  #all
  #more
  #name
  #inbox
  #shownUpTo

  /** `name`: whose bell it is. `inbox()` is the inbox of now. */
  constructor (root, { name, inbox }) {
    const part = (selector) => root.querySelector(selector)
    this.#bell = part('.bell')
    this.#badge = part('.badge')
    this.#box = part('.inbox')
    this.#list = part('.inbox ol')
    this.#empty = part('.inbox .hint')
    this.#name = name
    this.#inbox = inbox
    this.#bell.onclick = () => {
      this.#box.hidden = !this.#box.hidden
      this.#bell.setAttribute('aria-expanded', !this.#box.hidden)
      if (!this.#box.hidden) this.#inbox().see().catch(() => {})
    }
    this.#more = button('More', () => this.#inbox().loadMore())
    this.#all = button('All read', () => this.#readAll())
    this.#box.prepend(this.#all)
    this.#box.append(this.#more)
  }

  /** Up to the newest; and what was said to be unread again since that was read, which the cursor passes no more. */
  async #readAll () {
    await this.#inbox().read()
    for (const { id, isRead } of this.#inbox().items) if (!isRead) await this.#inbox().read(id)
  }

  show (inbox) {
    const { items, unseen, unread, hasMore } = inbox
    this.#badge.hidden = unseen === 0
    this.#badge.textContent = unseen >= 100 ? '99+' : unseen
    this.#bell.setAttribute('aria-label', `Notifications of ${this.#name}, ${this.#badge.textContent} new`)
    this.#bell.title = `${unread >= 100 ? '99+' : unread} unread`
    this.#more.hidden = !hasMore
    this.#all.hidden = items.length === 0
    this.#empty.hidden = items.length > 0
    const giveBack = this.#keepFocus()
    this.#list.replaceChildren(...items.map(({ id, event, data, isRead }) => {
      const item = document.createElement('li')
      item.dataset.id = id
      item.dataset.read = isRead
      const title = document.createElement('span')
      title.textContent = typeof data?.title === 'string' ? data.title : event
      item.append(
        title,
        isRead ? button('Unread', () => inbox.markUnread(id), title.textContent) : button('Read', () => inbox.read(id), title.textContent),
        button('Dismiss', () => inbox.dismiss(id), title.textContent)
      )
      return item
    }))
    giveBack()
    // What comes while the list is open is shown, and so is not new. Asked once for each, whatever the answer
    const isNewer = items[0]?.id !== this.#shownUpTo
    this.#shownUpTo = items[0]?.id
    if (isNewer && unseen > 0 && !this.#box.hidden) inbox.see().catch(() => {})
  }

  /** The list is made anew; who works with the keyboard goes on where they were, or at what has come into its place. */
  #keepFocus () {
    const { activeElement } = document
    const item = this.#list.contains(activeElement) && activeElement.closest('li')
    if (!item) return () => {}
    const row = [...this.#list.children].indexOf(item)
    const place = [...item.children].indexOf(activeElement)
    return () => {
      const rows = [...this.#list.children]
      const next = rows.find(({ dataset }) => dataset.id === item.dataset.id) ?? rows[Math.min(row, rows.length - 1)]
      const target = next?.children[place] ?? this.#bell
      target.focus()
    }
  }
}
