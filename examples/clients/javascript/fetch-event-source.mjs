// Reads a stream with @microsoft/fetch-event-source. Prints one line an event: id, event, data.
// A clean end is final for it unless onclose throws, and it is written for pages: a program gives it a document and a
// window.
import { Agent, fetch } from 'undici'

globalThis.window ??= globalThis
globalThis.document ??= { hidden: false, addEventListener () {}, removeEventListener () {} }
const { fetchEventSource } = await import('@microsoft/fetch-event-source')

for (const name of ['TIDINGS_URL', 'TIDINGS_TOKEN']) if (!process.env[name]) throw new Error(`${name} is not set`)
const { TIDINGS_URL, TIDINGS_TOKEN } = process.env
// Nothing heard for two heartbeats: the line is dead. Node's own fetch would wait five minutes.
const dispatcher = new Agent({ bodyTimeout: 30_000, headersTimeout: 30_000 })
// 401 and 403: get another token. 404: look at the URL. 408 and 429 pass.
const isFinal = (status) => status >= 400 && status < 500 && ![408, 429].includes(status)
// The library counts an id before its event is whole. If the line breaks in between, it would never ask for that event.
let lastId = ''
const fromLastId = ({ 'last-event-id': _, ...headers }) => lastId === '' ? headers : { ...headers, 'last-event-id': lastId }

await fetchEventSource(TIDINGS_URL, {
  headers: { authorization: `Bearer ${TIDINGS_TOKEN}` },
  openWhenHidden: true,
  fetch: async (url, init) => await fetch(url, { ...init, headers: fromLastId(init.headers), dispatcher }),
  async onopen ({ status }) {
    if (status === 200) return
    if (status === 204) process.exit(0) // ended for good: logged out, or replaced
    if (isFinal(status)) {
      console.error('refused:', status)
      process.exit(1)
    }
    throw new Error(`answered ${status}`)
  },
  onmessage ({ id, event, data }) {
    lastId = id || lastId
    if (data !== '') console.log([id, event || 'message', data].join('\t'))
  },
  onclose () { throw new Error('the stream ended: come back') },
  onerror ({ message, cause }) { console.error('trying again:', cause?.message ?? message) } // nothing returned: after the time that `retry:` said
})
