// What travels on a Redis channel, read back: a notification with an id (from functions.lua), a plain one, or a control message.
import { DEFAULT_EVENT, eventFault, isTooDeep, type Notification } from '../notification.ts'
import type { Control, DropReason } from './broker.ts'

/** What functions.lua begins its payloads with. A plain PUBLISH that brings an `id` of its own has it ignored. */
const DURABLE = '{"tidings":1,'
/** What a plain payload may have around its data. */
const ENVELOPE_BYTES = 1024

export type Incoming =
  | { readonly notification: Notification }
  | { readonly control: Control }
  | { readonly dropped: DropReason }

/** Reads a channel payload; never throws, whatever somebody published. */
export function readPayload (payload: string, maxDataBytes: number): Incoming {
  const durable = payload.startsWith(DURABLE)
  // What has an id was checked before it was stored; to drop it here, for this node's own limit, would lose it in silence.
  if (!durable && payload.length > maxDataBytes + ENVELOPE_BYTES) return { dropped: 'oversized' }
  let message: unknown
  try {
    message = JSON.parse(payload)
  } catch {
    return { dropped: 'malformed' }
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) return { dropped: 'malformed' }
  const { id, event = DEFAULT_EVENT, data, control, group } = message as Record<string, unknown>
  if (durable) return { notification: { id: id as number, event: event as string, json: JSON.stringify(data) } }
  if (control === 'join' || control === 'leave') {
    return typeof group === 'string' ? { control: { control, group, id: Number(id) } } : { dropped: 'malformed' }
  }
  return readPlain(event, data, payload, maxDataBytes)
}

function readPlain (event: unknown, data: unknown, payload: string, maxDataBytes: number): Incoming {
  if (typeof event !== 'string' || data === undefined) return { dropped: 'malformed' }
  const fault = eventFault(event)
  if (fault !== undefined) return { dropped: fault }
  if (isTooDeep(payload)) return { dropped: 'malformed' }
  const json = JSON.stringify(data)
  return Buffer.byteLength(json) > maxDataBytes ? { dropped: 'oversized' } : { notification: { id: 0, event, json } }
}
