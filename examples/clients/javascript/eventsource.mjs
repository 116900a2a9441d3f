// Reads a stream with the npm package eventsource. Prints one line an event: id, event, data.
// It does what a browser's EventSource does: reconnects with Last-Event-ID after `retry:`, stops at 204.
import { EventSource } from 'eventsource'
import { Agent, fetch } from 'undici'

for (const name of ['TIDINGS_URL', 'TIDINGS_TOKEN']) if (!process.env[name]) throw new Error(`${name} is not set`)
const { TIDINGS_URL, TIDINGS_TOKEN } = process.env
// Nothing heard for two heartbeats: the line is dead. Node's own fetch would wait five minutes.
const dispatcher = new Agent({ bodyTimeout: 30_000, headersTimeout: 30_000 })
const source = new EventSource(TIDINGS_URL, {
  fetch: (url, init) => fetch(url, { ...init, dispatcher, headers: { ...init.headers, authorization: `Bearer ${TIDINGS_TOKEN}` } })
})

// It hands out named events by name only, so say which ones you want.
for (const name of ['message', 'sync', 'stock', 'closed', 'replaced']) {
  source.addEventListener(name, ({ lastEventId, type, data }) => { console.log([lastEventId, type, data].join('\t')) })
}
source.addEventListener('error', ({ code, message }) => {
  if (source.readyState !== source.CLOSED) {
    if (message !== undefined) console.error('trying again:', message) // a clean end has none
    return
  }
  if (code === 204) process.exit(0) // ended for good: logged out, or replaced
  console.error('refused:', code) // as in a browser, whatever the status
  process.exit(1)
})
