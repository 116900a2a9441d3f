// Parses messages on Redis channels: notifications with an id (sent by the function library), plain ones, and control
// messages.
import { memberText } from '../../json-text.ts'
import { DEFAULT_EVENT, eventFault, isTooDeep, type Notification } from '../../notification.ts'
import { parseTraceparent } from '../../trace-context.ts'
import type { Control, DropReason } from '../listener.ts'

/** The beginning of the library's notifications; the nonce follows. An `id` in a plain PUBLISH is ignored. */
const DURABLE = '{"tidings":1,'
/** What begins so is ours, or forged: with another nonce, or of a library that had none (0.1.0). */
const OWN = [`${DURABLE}"n":`, `${DURABLE}"id":`]
/** Follows the event name if the notification carries a trace. */
const TRACE = '","tp":"'
/** The process of a Cluster that sent a message, before its data: eight digits of its run id. */
const BY = ',"by":"'
const BY_LENGTH = BY.length + 8 + 1
/** Bytes that a plain message may have beside its data. */
const ENVELOPE_BYTES = 1024

/** How many nonces are accepted at a time. */
const NONCES = 3

export type Incoming =
  | { readonly notification: Notification }
  | { readonly control: Control }
  | { readonly dropped: DropReason, readonly isStranger?: boolean }
  /** Sent by another process than the one that is listened to. */
  | { readonly isElsewhere: true }

const MALFORMED: Incoming = { dropped: 'malformed' }
const STRANGER: Incoming = { dropped: 'malformed', isStranger: true }
const ELSEWHERE: Incoming = { isElsewhere: true }

/** Reads what arrives on the channels of one prefix. */
export class Wire {
  readonly #maxDataBytes: number
  /** The accepted beginnings of messages, newest nonce first. Messages with older nonces may still be on their way. */
  #marks: readonly string[] = []
  #nonces: readonly string[] = []
  /**
   * Set when a message had an unknown nonce: it was forged, or sent by a newer library that we have not learned of yet.
   */
  hasHeardStranger = false
  /** The beginning of the run id of the process that is listened to; '' if that is not known, and any may send. */
  #server = ''

  constructor (maxDataBytes: number) {
    this.#maxDataBytes = maxDataBytes
  }

  /** Accepts this nonce from now on. Whoever can only PUBLISH does not know it. */
  expect (nonce: string): void {
    this.#nonces = [nonce, ...this.#nonces.filter((known) => known !== nonce)].slice(0, NONCES)
    this.#marks = this.#nonces.map((nonce) => `${DURABLE}"n":"${nonce}","id":`)
  }

  /**
   * Only what this process sends is heard from now on. `runId`: '' hears any. What names no process is always heard: it
   * is from another service, or from a process that no node has configured yet.
   */
  listenTo (runId: string): void {
    this.#server = runId.slice(0, 8)
  }

  /** Never throws, whatever was published: an exception would end this node and every other one that listens. */
  read (payload: string): Incoming {
    // The library has checked what it sends, so nothing is parsed here.
    for (const mark of this.#marks) if (payload.startsWith(mark)) return this.#readDurable(payload, mark.length)
    for (const own of OWN) if (payload.startsWith(own)) return this.#stranger()
    if (payload.length > this.#maxDataBytes + ENVELOPE_BYTES) return { dropped: 'oversized' }
    try {
      return this.#readPlain(payload)
    } catch {
      // It is not JSON, or so deep that the stack overflowed.
      return MALFORMED
    }
  }

  #stranger (): Incoming {
    this.hasHeardStranger = true
    return STRANGER
  }

  #readControl ({ control, subject, id }: Record<string, unknown>): Incoming {
    if (typeof id !== 'string') return MALFORMED
    if (control === 'logout') return { control: { control, id: Number(id) } }
    if (typeof subject !== 'string') return MALFORMED
    if (control === 'join' || control === 'leave') return { control: { control, id: Number(id), group: subject } }
    return control === 'takeover' ? { control: { control, id: Number(id), tag: subject } } : MALFORMED
  }

  /**
   * Reads a control message, or a notification without an id. Both the library and other services send the latter, and
   * without our nonce any other member of theirs is their own, and means nothing.
   */
  #readPlain (payload: string): Incoming {
    const message: unknown = JSON.parse(payload)
    if (typeof message !== 'object' || message === null || Array.isArray(message)) return MALFORMED
    const { event = DEFAULT_EVENT, data, control, once, tp, n, by } = message as Record<string, unknown>
    const isOurs = this.#nonces.includes(n as string)
    if (isOurs && this.#isElsewhere(by)) return ELSEWHERE
    if (isOurs && control !== undefined) return this.#readControl(message as Record<string, unknown>)
    if (data === undefined) return control !== undefined && typeof n === 'string' ? this.#stranger() : MALFORMED
    if (typeof event !== 'string') return MALFORMED
    const fault = eventFault(event)
    if (fault !== undefined) return { dropped: fault }
    // The message's own brace does not count: data may be as deep as with FCALL.
    if (isTooDeep(payload.slice(payload.indexOf('{') + 1))) return MALFORMED
    const json = memberText(payload, 'data')!
    if (Buffer.byteLength(json) > this.#maxDataBytes) return { dropped: 'oversized' }
    const traceparent = parseTraceparent(tp)
    return { notification: { id: 0, event, json, ...isOurs && typeof once === 'string' && { once }, ...traceparent !== undefined && { traceparent } } }
  }

  #isElsewhere (by: unknown): boolean {
    return this.#server !== '' && typeof by === 'string' && by !== this.#server
  }

  // <id>[,"asOf":<id>],"event":"<event>"[,"tp":"<traceparent>"][,"by":"<run id>"],"data":<json>}
  #readDurable (payload: string, at: number): Incoming {
    const idEnd = payload.indexOf(',', at)
    const id = Number(payload.slice(at, idEnd))
    const eventAt = payload.indexOf('"event":"', idEnd) + 9
    const eventEnd = payload.indexOf('"', eventAt)
    const event = payload.slice(eventAt, eventEnd)
    const dataMemberAt = payload.indexOf(',"data":', eventEnd)
    const byAt = dataMemberAt - BY_LENGTH
    if (this.#server !== '' && payload.startsWith(BY, byAt) && !payload.startsWith(this.#server, byAt + BY.length)) return ELSEWHERE
    const json = payload.slice(dataMemberAt + 8, -1)
    if (id > 0) {
      if (payload.startsWith(TRACE, eventEnd)) {
        const traceparent = parseTraceparent(payload.slice(eventEnd + TRACE.length, payload.indexOf('"', eventEnd + TRACE.length)))
        if (traceparent !== undefined) return { notification: { id, event, json, traceparent } }
      }
      return { notification: { id, event, json } }
    }
    return { notification: { id, event, json, asOf: Number(payload.slice(idEnd + 8, eventAt - 10)) } }
  }
}
