// What travels on a Redis channel, read back: a notification with an id (from the function library), a plain one, or a
// control message.
import { memberText } from '../../json-text.ts'
import { DEFAULT_EVENT, eventFault, isTooDeep, type Notification } from '../../notification.ts'
import { parseTraceparent } from '../../trace-context.ts'
import type { Control, DropReason } from '../listener.ts'

/**
 * What the library begins its notifications with; the nonce follows. A plain PUBLISH that brings an `id` of its own has
 * it ignored.
 */
const DURABLE = '{"tidings":1,'
const CONTROL = '{"control":'
/** Behind the event of one that is a part of a trace. */
const TRACE = '","tp":"'
/** What a plain payload may have around its data. */
const ENVELOPE_BYTES = 1024

/** Nonces that are known at a time. */
const NONCES = 3

export type Incoming =
  | { readonly notification: Notification }
  | { readonly control: Control }
  | { readonly dropped: DropReason }

const MALFORMED: Incoming = { dropped: 'malformed' }

/** Reads what arrives on the channels of one prefix. */
export class Wire {
  readonly #maxDataBytes: number
  /** The newest first; of those before, messages may still be on their way. */
  #marks: readonly string[] = []
  #nonces: readonly string[] = []
  /**
   * Whether something bore a nonce that is not known: a forgery, or from a library that is newer than what we know of
   * it.
   */
  hasHeardStranger = false

  constructor (maxDataBytes: number) {
    this.#maxDataBytes = maxDataBytes
  }

  /** What the library's messages bear from now on. Who can only PUBLISH does not know it. */
  expect (nonce: string): void {
    this.#nonces = [nonce, ...this.#nonces.filter((known) => known !== nonce)].slice(0, NONCES)
    this.#marks = this.#nonces.map((nonce) => `${DURABLE}"n":"${nonce}","id":`)
  }

  /** Never throws, whatever somebody published: it would take the node down, and all nodes that listen. */
  read (payload: string): Incoming {
    // The library has checked what it sends, so that nothing is parsed here.
    for (const mark of this.#marks) if (payload.startsWith(mark)) return readDurable(payload, mark.length)
    if (payload.startsWith(DURABLE)) return this.#stranger()
    if (payload.length > this.#maxDataBytes + ENVELOPE_BYTES) return { dropped: 'oversized' }
    try {
      return payload.startsWith(CONTROL) ? this.#readControl(payload) : this.#readPlain(payload)
    } catch {
      // No JSON, or so deep that not even the stack is enough for it.
      return MALFORMED
    }
  }

  #stranger (): Incoming {
    this.hasHeardStranger = true
    return MALFORMED
  }

  #readControl (payload: string): Incoming {
    const { control, n, subject, id } = JSON.parse(payload) as Record<string, unknown>
    if (typeof n !== 'string' || typeof id !== 'string') return MALFORMED
    if (!this.#nonces.includes(n)) return this.#stranger()
    if (control === 'logout') return { control: { control, id: Number(id) } }
    if (typeof subject !== 'string') return MALFORMED
    if (control === 'join' || control === 'leave') return { control: { control, id: Number(id), group: subject } }
    return control === 'takeover' ? { control: { control, id: Number(id), tag: subject } } : MALFORMED
  }

  #readPlain (payload: string): Incoming {
    const message: unknown = JSON.parse(payload)
    if (typeof message !== 'object' || message === null || Array.isArray(message)) return MALFORMED
    const { event = DEFAULT_EVENT, data, control, once, tp } = message as Record<string, unknown>
    if (control !== undefined || typeof event !== 'string' || data === undefined) return MALFORMED
    const fault = eventFault(event)
    if (fault !== undefined) return { dropped: fault }
    // Without its own opening brace: the data may be as deep as with FCALL.
    if (isTooDeep(payload.slice(payload.indexOf('{') + 1))) return MALFORMED
    const json = memberText(payload, 'data')!
    if (Buffer.byteLength(json) > this.#maxDataBytes) return { dropped: 'oversized' }
    const traceparent = parseTraceparent(tp)
    return { notification: { id: 0, event, json, ...typeof once === 'string' && { once }, ...traceparent !== undefined && { traceparent } } }
  }
}

// <id>[,"asOf":<id>],"event":"<event>"[,"tp":"<traceparent>"],"data":<json>}
function readDurable (payload: string, at: number): Incoming {
  const idEnd = payload.indexOf(',', at)
  const id = Number(payload.slice(at, idEnd))
  const eventAt = payload.indexOf('"event":"', idEnd) + 9
  const eventEnd = payload.indexOf('"', eventAt)
  const event = payload.slice(eventAt, eventEnd)
  const dataAt = payload.indexOf(',"data":', eventEnd) + 8
  const json = payload.slice(dataAt, -1)
  if (id > 0) {
    if (payload.startsWith(TRACE, eventEnd)) {
      const traceparent = parseTraceparent(payload.slice(eventEnd + TRACE.length, payload.indexOf('"', eventEnd + TRACE.length)))
      if (traceparent !== undefined) return { notification: { id, event, json, traceparent } }
    }
    return { notification: { id, event, json } }
  }
  return { notification: { id, event, json, asOf: Number(payload.slice(idEnd + 8, eventAt - 10)) } }
}
