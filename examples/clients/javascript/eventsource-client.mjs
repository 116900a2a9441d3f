// Reads a stream with the npm package eventsource-client. Prints one line an event: id, event, data.
// It reconnects with Last-Event-ID after `retry:` whatever the answer was: 204, 401 and 403 must end it by hand.
import { createEventSource } from 'eventsource-client'
import { Agent, fetch } from 'undici'

const { TIDINGS_URL, TIDINGS_TOKEN } = process.env
// Nothing heard for two heartbeats: the line is dead. Node's own fetch would wait five minutes.
const dispatcher = new Agent({ bodyTimeout: 30_000, headersTimeout: 30_000 })

createEventSource({
  url: TIDINGS_URL,
  headers: { authorization: `Bearer ${TIDINGS_TOKEN}` },
  async fetch (url, init) {
    const response = await fetch(url, { ...init, dispatcher })
    if (response.status === 204) process.exit(0) // ended for good: logged out, or replaced
    if (response.status === 401 || response.status === 403) {
      console.error('refused:', response.status)
      process.exit(1)
    }
    return response
  },
  onMessage ({ id = '', event = 'message', data }) { console.log([id, event, data].join('\t')) }
})
