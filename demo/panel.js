// One user's panel: shows what the stream does, and lets the visitor disconnect, come back, join and leave

import { Bell } from './bell.js'
import { Stream } from './stream.js'

const KEPT_ITEMS = 100
const LABELS = { connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting', closed: 'Closed' }
const RESUMES = {
  fresh: 'live from here',
  complete: 'back, nothing missed',
  incomplete: 'back, but history was cut: refetch'
}

const clockTime = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })

/**
 * `user` is one of the session's users. `setGroup(group, member)` asks the service to join or leave; `renew()` resolves
 * once there are fresh tokens, `token()` to the user's; `on` hears `received(id, replayed)` and `changed()`. Connect
 * its `stream` to start.
 */
export class Panel {
  user
  groups
  stream
  #on
  #setGroup
  #renew
  #renewed = false
  #pingedAt = 0
  #bell
  #parts

  constructor (root, { user, node, groupNames, setGroup, renew, token, on }) {
    this.groups = new Set(user.groups)
    this.user = user
    this.#on = on
    this.#setGroup = setGroup
    this.#renew = renew
    root.append(document.getElementById('panel').content.cloneNode(true))
    const part = (selector) => root.querySelector(selector)
    this.#parts = {
      state: part('.state'),
      stateText: part('.state span'),
      toggle: part('.toggle'),
      pulse: part('.pulse'),
      groups: part('.groups'),
      list: part('.feed ol'),
      inbox: part('.inbox'),
      fact: (name, text) => { part(`[data-fact=${name}]`).textContent = text }
    }

    part('h2').id = `${root.id}-name`
    part('h2').textContent = user.name
    part('.avatar').textContent = user.name[0]
    part('.where').textContent = `on ${node.name}, ${new URL(node.origin).host}`
    this.#parts.groups.setAttribute('aria-label', `Groups of ${user.name}`)
    part('.feed').setAttribute('aria-label', `What ${user.name} received, newest first`)
    this.#parts.toggle.onclick = () => this.#toggle()
    for (const group of groupNames) this.#parts.groups.append(this.#groupButton(group))

    this.stream = new Stream({
      url: node.origin,
      token,
      on: {
        state: (state, reason) => this.#showState(state, reason),
        notification: (notification) => this.#showNotification(notification),
        sync: (info) => this.#showSync(info),
        ping: () => this.#beat(),
        retracted: (id) => this.#takeBack(id),
        inbox: (inbox) => this.#showInbox(inbox)
      }
    })
    this.#bell = new Bell(root, { name: user.name, inbox: () => this.stream.inbox })
    setInterval(() => this.#showPing(), 1000)
  }

  #toggle () {
    if (this.stream.state === 'closed') this.stream.connect()
    else this.stream.disconnect()
  }

  #groupButton (group) {
    const button = document.createElement('button')
    button.type = 'button'
    button.dataset.group = group
    button.className = 'chip'
    button.textContent = group
    button.onclick = async () => {
      const member = !this.groups.has(group)
      button.disabled = true
      const done = await this.#setGroup(this.user.id, group, member)
      button.disabled = false
      button.focus()
      if (!done) return
      if (member) this.groups.add(group)
      else this.groups.delete(group)
      this.#mark(`${member ? 'joined' : 'left'} ${group}`)
      this.#showGroups()
    }
    return button
  }

  #showGroups () {
    for (const button of this.#parts.groups.children) {
      const member = this.groups.has(button.dataset.group)
      button.setAttribute('aria-pressed', member)
      button.title = `${member ? 'Leave' : 'Join'} ${button.dataset.group}`
    }
    this.#on.changed()
  }

  #showState (state, reason) {
    const { state: badge, stateText, toggle, pulse, inbox } = this.#parts
    badge.dataset.state = state
    stateText.textContent = LABELS[state]
    toggle.textContent = state === 'closed' ? 'Reconnect' : 'Disconnect'
    // A device that is away can neither say nor hear what was read
    inbox.inert = state === 'closed'
    if (state === 'closed') this.#mark(reason)
    if (state === 'reconnecting') this.#mark('connection lost')
    if (state !== 'live') this.#pingedAt = 0
    pulse.classList.toggle('beat', state === 'live')
    this.#showPing()
    this.#showGroups()
    // The demo was restarted, and so made a new secret: fetch new tokens once, as a real page would at its login
    if (reason === 'denied' && !this.#renewed) {
      this.#renewed = true
      this.#renew().then(() => this.stream.connect(), () => {})
    }
  }

  #showSync ({ resume, replayed, groups }) {
    const { fact } = this.#parts
    this.#renewed = false
    this.groups = new Set(groups)
    fact('resume', resume)
    fact('replayed', replayed)
    fact('lastId', this.stream.lastId)
    this.#mark(RESUMES[resume] + (replayed ? `, ${replayed} replayed` : ''), resume)
    this.#beat()
    this.#showGroups()
  }

  #showNotification ({ id, event, data, replayed }) {
    const item = document.getElementById('notification').content.cloneNode(true)
    const part = (selector) => item.querySelector(selector)
    const now = new Date()
    const { title, message, occurredAt, ...rest } = Object(data) === data && !Array.isArray(data) ? data : {}
    const readable = typeof title === 'string' || typeof message === 'string'
    part('.event').textContent = event
    part('strong').textContent = readable ? title ?? '' : ''
    part('time').textContent = clockTime.format(now)
    part('time').dateTime = now.toISOString()
    part('.body').textContent = readable ? message ?? '' : ''
    part('pre').textContent = !readable || Object.keys(rest).length ? JSON.stringify(readable ? rest : data, null, 2) : ''
    part('.id').textContent = id || 'no id'
    part('.replayed').hidden = !replayed
    if (id) part('.item').dataset.id = id
    if (replayed) part('.item').dataset.replayed = ''
    this.#add(item)
    this.#parts.fact('lastId', this.stream.lastId)
    this.#on.received(id, replayed)
  }

  /** What was received stays in the feed, and says so. */
  #takeBack (id) {
    for (const item of this.#parts.list.children) if (item.dataset.id === id) item.dataset.retracted = ''
  }

  #mark (text, kind = '') {
    const mark = document.createElement('li')
    mark.className = 'mark'
    mark.dataset.kind = kind
    mark.append(`${text} · ${clockTime.format(new Date())}`)
    this.#add(mark)
  }

  #add (item) {
    const { list } = this.#parts
    list.prepend(item)
    while (list.children.length > KEPT_ITEMS) list.lastElementChild.remove()
  }

  #beat () {
    this.#pingedAt = performance.now()
    for (const animation of this.#parts.pulse.getAnimations()) {
      animation.cancel()
      animation.play()
    }
    this.#showPing()
  }

  // The service counts to 100, which stands for any more
  #showInbox (inbox) {
    this.#parts.fact('unread', inbox.unread >= 100 ? '99+' : inbox.unread)
    this.#bell.show(inbox)
  }

  #showPing () {
    const seconds = Math.round((performance.now() - this.#pingedAt) / 1000)
    this.#parts.fact('ping', this.#pingedAt ? (seconds ? `${seconds} s ago` : 'now') : '–')
  }
}
