// One user's stream: the browser's own EventSource, the state it is in, and the id to resume from

/** The stream's own events: a visitor who types one as a name must not see it as a notification. */
const OWN = new Set(['sync', 'ping', 'replaced', 'closed', 'expiring', 'read', 'retracted', 'open', 'error'])

/**
 * States: `connecting` (opened, history may be arriving), `live` (after `sync`), `reconnecting` (the browser is at it by
 * itself), `closed` (by us, by a terminal event, or refused: EventSource does not try again).
 *
 * `on` hears what happens: `state(state, reason)`, `notification({ id, event, data, replayed })`, `sync(info)`, `ping()`.
 */
export class Stream {
  lastId = ''
  state = 'closed'
  #url
  #heartbeatMs
  #on
  #source
  #silence
  #names = new Set(['message'])

  constructor ({ url, heartbeatMs, on }) {
    this.#url = url
    this.#heartbeatMs = heartbeatMs
    this.#on = on
  }

  connect () {
    this.#stop()
    const url = new URL(this.#url)
    // Only a new EventSource needs it: when the browser reconnects by itself it sends Last-Event-ID, which goes first
    if (this.lastId) url.searchParams.set('lastEventId', this.lastId)
    const source = this.#source = new EventSource(url, { withCredentials: true })
    this.#enter('connecting')

    for (const name of this.#names) source.addEventListener(name, this.#receive)
    source.addEventListener('sync', (event) => {
      this.lastId = event.lastEventId
      this.#heard()
      this.#enter('live')
      this.#on.sync(JSON.parse(event.data))
    })
    source.addEventListener('ping', () => {
      this.#heard()
      this.#on.ping()
    })
    // Terminal events. Their ids start with "!" and are no position, so lastId stays what it was
    source.addEventListener('replaced', () => this.#end('replaced: active in another tab'))
    source.addEventListener('closed', (event) => this.#end(`closed: ${JSON.parse(event.data).reason}`))
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.#end('refused')
      else this.#enter('reconnecting')
    }
  }

  disconnect () {
    this.#end('disconnected')
  }

  /** EventSource hands over only the event names that it was told to listen for. */
  listen (name) {
    if (this.#names.has(name) || OWN.has(name)) return
    this.#names.add(name)
    this.#source?.addEventListener(name, this.#receive)
  }

  #receive = (event) => {
    // A plain PUBLISH in Redis has no id: the browser then repeats the last one it knows
    const id = event.lastEventId === this.lastId ? '' : event.lastEventId
    if (id) this.lastId = id
    this.#on.notification({ id, event: event.type, data: JSON.parse(event.data), replayed: this.state !== 'live' })
  }

  // A half-open line raises no error in any browser; three missing pings do
  #heard () {
    clearTimeout(this.#silence)
    this.#silence = setTimeout(() => this.connect(), 3 * this.#heartbeatMs)
  }

  #stop () {
    clearTimeout(this.#silence)
    this.#source?.close()
  }

  #end (reason) {
    this.#stop()
    this.#enter('closed', reason)
  }

  #enter (state, reason) {
    if (state === this.state) return
    this.state = state
    this.#on.state(state, reason)
  }
}
