// What is done with a notification's text where it is heard and where it is published: by the service's own code, and
// as it would be by JSON.parse and JSON.stringify.
import { Wire } from '../../src/broker/redis/wire.ts'
import { notificationFrame } from '../../src/hub/frame.ts'
import { memberText } from '../../src/json-text.ts'
import type { Notification } from '../../src/notification.ts'
import { payload } from '../harness/payload.ts'

export interface TextCase {
  readonly name: string
  readonly title: string
  /** The text that a publisher sent. */
  readonly data: string
  /** What one message takes; returns the text that goes on. */
  readonly act: (n: number) => string
  readonly expected: string
}

const NONCE = 'a'.repeat(32)
const wire = new Wire(65_536)
wire.expect(NONCE)

/** 1.10 and 12345678901234567890 are what an order really holds, and what writing anew would change. */
function order (items: number): string {
  return `{"order":12345678901234567890,"items":[${Array.from({ length: items }, (_, i) => `{"id":${i},"title":"A parcel of books","price":1.10,"isSent":false}`).join(',')}]}`
}

const anew = (json: string): string => JSON.stringify(JSON.parse(json))

/** Parsed in any case: it is checked. */
const dataOf = (body: string): unknown => (JSON.parse(body) as { data: unknown }).data

function cutOut (body: string): string {
  dataOf(body)
  return memberText(body, 'data')!
}

function heard (message: string): Notification {
  const incoming = wire.read(message)
  if (!('notification' in incoming)) throw new Error('what the library sends was not read')
  return incoming.notification
}

function casesOf (size: string, data: string): TextCase[] {
  const written = anew(data)
  // Never the same string twice: V8 would know the flat one.
  const message = (n: number): string => `{"tidings":1,"n":"${NONCE}","id":${1_763_794_000_000_000 + n},"event":"message","data":${data}}`
  const body = (n: number): string => `{"to":"user:${n}","data":${data}}`
  const hear = (n: number, change: (json: string) => string): string => {
    const notification = heard(message(n))
    const json = change(notification.json)
    notificationFrame({ ...notification, json })
    return json
  }
  return [
    { name: `heard-text-${size}`, title: `heard, ${size}, passed through`, data, expected: data, act: (n) => hear(n, (json) => json) },
    { name: `heard-anew-${size}`, title: `heard, ${size}, parsed and written`, data, expected: written, act: (n) => hear(n, anew) },
    { name: `posted-text-${size}`, title: `published over HTTP, ${size}, cut out`, data, expected: data, act: (n) => cutOut(body(n)) },
    { name: `posted-anew-${size}`, title: `published over HTTP, ${size}, written`, data, expected: written, act: (n) => JSON.stringify(dataOf(body(n))) }
  ]
}

/** A message of the bench, and a list of some kilobytes. */
export function textCases (): TextCase[] {
  return [...casesOf('180B', payload(0)), ...casesOf('4KB', order(64))]
}
