// One device's stream by the browser module, in the words of the panel that shows it

import { connect } from '/client.js'

/**
 * `on` hears what happens: `state(state, reason)`, `notification({ id, event, data, replayed })`, `sync(info)`,
 * `ping()`, `retracted(id)`, `inbox(inbox)`. States: `connecting`, `live`, `reconnecting`, `closed`.
 */
export class Stream {
  lastId = ''
  state = 'closed'
  #options
  #on
  #tidings

  constructor ({ on, ...options }) {
    this.#options = options
    this.#on = on
  }

  get inbox () {
    return this.#tidings.inbox
  }

  connect () {
    // Each panel of the page stands for a device, so each has a stream of its own. A real page leaves `share` out
    const tidings = this.#tidings = connect({ ...this.#options, share: 'tab', position: this.lastId })
    const show = () => this.#enter(tidings.state)
    tidings.subscribe(show)
    tidings.on('*', (data, { id, event, isReplay }) => {
      if (id) this.lastId = id
      this.#on.notification({ id, event, data, replayed: isReplay })
    })
    tidings.on('sync', (info, { id }) => {
      this.lastId = id
      this.#on.sync(info)
    })
    tidings.on('ping', () => this.#on.ping())
    tidings.on('retracted', ({ id }) => this.#on.retracted(id))
    tidings.inbox.subscribe(() => this.#on.inbox(tidings.inbox))
    show()
  }

  disconnect () {
    this.#tidings.close()
  }

  #enter (told) {
    const state = told === 'waiting' ? 'reconnecting' : told === 'connecting' || told === 'live' ? told : 'closed'
    if (state === this.state) return
    this.state = state
    this.#on.state(state, told === 'replaced' ? 'replaced: active elsewhere' : told)
  }
}
