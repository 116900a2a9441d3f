// What travels on a Redis channel, read back: a notification with an id (from functions.lua), a plain one, or a control message.
import { DEFAULT_EVENT, eventFault, isTooDeep, type Notification } from '../../notification.ts'
import type { Control, DropReason } from '../broker.ts'

/** What functions.lua begins its payloads with. A plain PUBLISH that brings an `id` of its own has it ignored. */
const DURABLE = '{"tidings":1,'
/** What a plain payload may have around its data. */
const ENVELOPE_BYTES = 1024
/** More than any node's MAX_DATA_BYTES may be. */
const MOST_BYTES = 16_777_216
/** How far Redis's clock may be ahead of ours. */
const MAX_AHEAD_MS = 3_600_000

export type Incoming =
  | { readonly notification: Notification }
  | { readonly control: Control }
  | { readonly dropped: DropReason }

/** Reads a channel payload; never throws, whatever somebody published: it would take the node down, and all nodes that listen. */
export function readPayload (payload: string, maxDataBytes: number): Incoming {
  try {
    return read(payload, maxDataBytes)
  } catch {
    // No JSON, or so deep that not even the stack is enough for it.
    return { dropped: 'malformed' }
  }
}

function read (payload: string, maxDataBytes: number): Incoming {
  const durable = payload.startsWith(DURABLE)
  // What has an id was checked before it was stored; to drop it here, for this node's own limit, would lose it in silence. But an
  // imitation may not cost us any amount of memory.
  if (payload.length > (durable ? MOST_BYTES : maxDataBytes) + ENVELOPE_BYTES) return { dropped: 'oversized' }
  const message: unknown = JSON.parse(payload)
  if (typeof message !== 'object' || message === null || Array.isArray(message)) return { dropped: 'malformed' }
  const { id, event = DEFAULT_EVENT, data, control, subject } = message as Record<string, unknown>
  if (durable) return readDurable(id, event, data)
  if (control !== undefined) return readControl(control, subject, typeof id === 'string' ? Number(id) : NaN)
  return readPlain(event, data, payload, maxDataBytes)
}

// Only functions.lua writes these, but anyone who may PUBLISH can imitate it. An id from the far future would make a stream take
// everything after it for a duplicate.
function isId (id: unknown): id is number {
  return Number.isSafeInteger(id) && id as number > 0 && id as number < (Date.now() + MAX_AHEAD_MS) * 1000
}

function readDurable (id: unknown, event: unknown, data: unknown): Incoming {
  if (!isId(id) || typeof event !== 'string' || eventFault(event) !== undefined || data === undefined) return { dropped: 'malformed' }
  return { notification: { id, event, json: JSON.stringify(data) } }
}

function readControl (control: unknown, subject: unknown, id: number): Incoming {
  if (!isId(id)) return { dropped: 'malformed' }
  if (control === 'logout') return { control: { control, id } }
  if (typeof subject !== 'string') return { dropped: 'malformed' }
  if (control === 'join' || control === 'leave') return { control: { control, id, group: subject } }
  return control === 'takeover' ? { control: { control, id, tag: subject } } : { dropped: 'malformed' }
}

function readPlain (event: unknown, data: unknown, payload: string, maxDataBytes: number): Incoming {
  if (typeof event !== 'string' || data === undefined) return { dropped: 'malformed' }
  const fault = eventFault(event)
  if (fault !== undefined) return { dropped: fault }
  // Without its own opening brace: the data may be as deep as with FCALL.
  if (isTooDeep(payload.slice(payload.indexOf('{') + 1))) return { dropped: 'malformed' }
  const json = JSON.stringify(data)
  return Buffer.byteLength(json) > maxDataBytes ? { dropped: 'oversized' } : { notification: { id: 0, event, json } }
}
