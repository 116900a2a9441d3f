// Reads a stream with the npm package eventsource-client. Prints one line an event: id, event, data.
// It reconnects with Last-Event-ID after `retry:` whatever the answer was: 204 and 4xx must end it by hand.
import { createEventSource } from 'eventsource-client'
import { Agent, fetch } from 'undici'

for (const name of ['TIDINGS_URL', 'TIDINGS_TOKEN']) if (!process.env[name]) throw new Error(`${name} is not set`)
const { TIDINGS_URL, TIDINGS_TOKEN } = process.env
// Nothing heard for two heartbeats: the line is dead. Node's own fetch would wait five minutes.
const dispatcher = new Agent({ bodyTimeout: 30_000, headersTimeout: 30_000 })
// 401 and 403: get another token. 404: look at the URL. 408 and 429 pass.
const isFinal = (status) => status >= 400 && status < 500 && ![408, 429].includes(status)

createEventSource({
  url: TIDINGS_URL,
  headers: { authorization: `Bearer ${TIDINGS_TOKEN}` },
  async fetch (url, init) {
    const response = await fetch(url, { ...init, dispatcher }).catch((error) => {
      console.error('trying again:', error.cause?.message ?? error.message)
      throw error
    })
    if (response.status === 204) process.exit(0) // ended for good: logged out, or replaced
    if (isFinal(response.status)) {
      console.error('refused:', response.status)
      process.exit(1)
    }
    if (response.status !== 200) console.error('trying again: answered', response.status)
    return response
  },
  onMessage ({ id = '', event = 'message', data }) { console.log([id, event, data].join('\t')) }
})
