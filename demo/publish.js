// The publish form: what it sends, what the service answered, and the same as a curl line

const KEPT_ANSWERS = 3
const KEPT_ENTRIES = 50

// What stands in the form until the visitor writes something of their own
const SAMPLES = {
  'user:alice': ['message', 'Hello, Alice', 'This one is for you alone.'],
  'user:bob': ['message', 'Hello, Bob', 'Published on one node, read on another.'],
  'group:Complaints': ['complaint', 'Complaint update', 'A parcel that was late has been found.'],
  'group:Sales': ['order', 'New order', 'Twelve lanterns, to be sent on Friday.'],
  all: ['message', 'Maintenance tonight', 'From 22:00, for about ten minutes.']
}

function element (name, className, ...children) {
  const made = document.createElement(name)
  made.className = className
  made.append(...children)
  return made
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`

/**
 * `send(node, body)` publishes and resolves to `{ status, answer }`; `reach(address)` says whom it reaches, and when;
 * `takeBack(node, body)` retracts, and resolves likewise.
 */
export class PublishForm {
  #form = document.getElementById('publish-form')
  #answers = document.getElementById('answers')
  #session
  #send
  #reach
  #takeBack
  #sample = []
  #entries = new Map()

  constructor ({ session, send, reach, takeBack }) {
    this.#session = session
    this.#send = send
    this.#reach = reach
    this.#takeBack = takeBack
    this.#form.addEventListener('input', ({ target }) => this.#changed(target))
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.#publish()
    })
    this.#form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.#form.requestSubmit()
    })
    document.getElementById('copy').onclick = async () => {
      await navigator.clipboard.writeText(document.getElementById('curl').textContent)
      document.getElementById('copied').textContent = 'Copied'
    }
    this.#fillSample()
    this.refresh()
  }

  /** Show again what depends on the form, the groups and the streams: whom the address reaches, and the curl line. */
  refresh () {
    const names = this.#reach(this.#field('to'))
    const to = element('code', '', this.#field('to'))
    document.getElementById('reach').replaceChildren(to, ` reaches ${names.join(', ') || 'nobody in this demo'}`)
    const body = this.#body()
    if (body.data !== undefined) document.getElementById('curl').textContent = this.#curlLine(body)
    document.getElementById('copied').textContent = ''
  }

  /** A stream received `id`: name who did, and how long it took, beside the answer. */
  received (user, id, replayed) {
    const entry = this.#entry(id)
    entry.arrivals.push({ name: user.name, at: performance.now(), replayed })
    this.#showArrivals(entry)
  }

  #field (name) {
    return this.#form.elements[name].value
  }

  #changed (target) {
    if (target.name === 'to') this.#fillSample()
    if (target.name === 'mode') this.#switchMode()
    this.refresh()
  }

  #fillSample () {
    const fields = ['event', 'title', 'message'].map((name) => this.#form.elements[name])
    const sample = SAMPLES[this.#field('to')]
    if (fields.some((field, index) => field.value !== (this.#sample[index] ?? ''))) return
    fields.forEach((field, index) => { field.value = sample[index] })
    this.#sample = sample
  }

  #switchMode () {
    const asJson = this.#field('mode') === 'json'
    if (asJson) this.#form.elements.json.value = JSON.stringify(this.#textData(), null, 2)
    document.getElementById('as-text').hidden = asJson
    document.getElementById('as-json').hidden = !asJson
  }

  #textData () {
    return { title: this.#field('title'), message: this.#field('message'), occurredAt: new Date().toISOString() }
  }

  /** The data to send, or undefined after saying what is wrong with the JSON. */
  #parse () {
    const fault = document.getElementById('json-fault')
    const { json } = this.#form.elements
    fault.textContent = ''
    json.removeAttribute('aria-invalid')
    if (this.#field('mode') === 'text') return this.#textData()
    try {
      return JSON.parse(json.value)
    } catch (error) {
      fault.textContent = error.message
      json.setAttribute('aria-invalid', 'true')
    }
  }

  #body () {
    const event = this.#field('event').trim()
    const [keep, ttl, key] = ['keep', 'ttl', 'key'].map((name) => this.#field(name))
    return { to: this.#field('to'), ...(event && { event }), ...(keep !== 'inbox' && { keep }), ...(ttl && { ttl: Number(ttl) }), ...(key && { key }), data: this.#parse() }
  }

  async #publish () {
    const body = this.#body()
    if (body.data === undefined) return this.#form.elements.json.focus()
    // All without an id share one entry, and this publish begins it anew.
    this.#entries.delete(undefined)
    const sentAt = performance.now()
    const { status, answer } = await this.#send(Number(this.#field('node')), body)
    this.#show(status, answer, sentAt)
  }

  #show (status, answer, sentAt) {
    const item = document.createElement('li')
    if (status === 202) {
      const [{ to, id, receivers }] = answer.notifications
      const entry = this.#entry(id)
      entry.sentAt = sentAt
      entry.line = element('p', 'arrivals')
      item.append(
        element('p', 'head', element('b', '', status), element('span', '', to), element('span', '', `receivers ${receivers}`)),
        element('p', 'mono', id ? `id ${id}` : 'no id'),
        entry.line
      )
      if (id) item.append(this.#takeBackButton(to, id))
      this.#showArrivals(entry)
    } else {
      item.className = 'failed'
      item.append(
        element('p', 'head', element('b', '', status || 'No answer'), element('span', '', answer.code ?? '')),
        element('p', '', answer.message)
      )
    }
    this.#answers.querySelector('.empty')?.remove()
    this.#answers.prepend(item)
    while (this.#answers.children.length > KEPT_ANSWERS) this.#answers.lastElementChild.remove()
  }

  #takeBackButton (to, id) {
    const button = element('button', 'small', 'Take back')
    button.type = 'button'
    button.onclick = async () => {
      const { status, answer } = await this.#takeBack(Number(this.#field('node')), { to, id })
      button.textContent = status >= 200 && status < 300 ? 'Taken back' : answer.message
      button.disabled = true
    }
    return button
  }

  // A stream is often faster than the answer, so whichever comes first makes the entry
  #entry (id) {
    const entry = this.#entries.get(id) ?? { arrivals: [] }
    this.#entries.set(id, entry)
    if (this.#entries.size > KEPT_ENTRIES) this.#entries.delete(this.#entries.keys().next().value)
    return entry
  }

  #showArrivals ({ line, sentAt, arrivals }) {
    if (!line) return
    const seen = arrivals.map(({ name, at, replayed }) =>
      replayed ? `${name} on return` : `${name} ${Math.max(1, Math.round(at - sentAt))} ms`)
    line.textContent = seen.length ? `seen: ${seen.join(', ')}` : 'not seen yet'
  }

  #curlLine (body) {
    const { nodes, token } = this.#session()
    return [
      `curl ${nodes[Number(this.#field('node'))].origin}/api/notifications`,
      `-H 'Authorization: Bearer ${token}'`,
      '-H \'Content-Type: application/json\'',
      `-d ${quote(JSON.stringify(body))}`
    ].join(' ')
  }
}
