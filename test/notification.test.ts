// Addresses, names, events, depth and cursors: what is let in and what is not, by table and by property.
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import {
  ALL, eventFault, groupAddress, idText, isAddress, isName, isTooDeep, MAX_DATA_DEPTH, MAX_NAME_CHARACTERS, parsePosition, RESERVED_EVENTS, userAddress
} from '../src/notification.ts'

/** What breaks a rule, short enough to be shown. */
const breaking = (texts: readonly string[], rule: (text: string) => boolean): string[] =>
  texts.filter((text) => !rule(text)).map((text) => text.length > 40 ? `${text.slice(0, 40)}… (${text.length})` : text)

const goodNames = ['a', '42', 'Complaints', 'ü', '日本', 'a b', 'a:b', 'user:42', '*', '"', '\\', 'all', '.', 'a\u2028b', '\u00a0', '😀'.repeat(128), 'x'.repeat(128)]
const badNames = ['', '\0', 'a\0b', 'a\nb', 'a\rb', '\t', '\x1f', '\x7f', '\u0080', '\u0085', '\u009f', 'x'.repeat(129), '😀'.repeat(129), 'x'.repeat(100_000), '\ud800', 'a\udc00b']

t.test('name, 1 to 128 characters and none of them a control character, passes', async (t) => {
  t.same(breaking(goodNames, isName), [])
})

t.test('name, empty, too long, with control characters or half a character, is refused', async (t) => {
  t.same(breaking(badNames, (name) => !isName(name)), [])
})

t.test('name, whatever the text, passes exactly if the rule in words says so', async () => {
  fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 200 }), fc.string({ unit: 'grapheme', maxLength: 200 }), fc.string({ maxLength: 300 })), (text) => {
    const points = [...text].map((character) => character.codePointAt(0)!)
    const fits = points.length >= 1 && points.length <= MAX_NAME_CHARACTERS &&
      points.every((point) => !(point < 32 || (point >= 127 && point < 160) || (point >= 0xd800 && point < 0xe000)))
    return isName(text) === fits
  }), { numRuns: 2000 })
})

t.test('address, of the three kinds, passes with any good name and with no other', async (t) => {
  t.equal(isAddress(ALL), true)
  t.same(breaking(goodNames, (name) => isAddress(userAddress(name)) && isAddress(groupAddress(name))), [])
  t.same(breaking(badNames, (name) => !isAddress(userAddress(name)) && !isAddress(groupAddress(name))), [])
})

t.test('address, of an unknown kind, is refused', async (t) => {
  t.same(breaking(['', 'user', 'group', 'user:', 'group:', '42', 'All', 'ALL', 'all ', ' all', 'all:', 'all:x', 'User:42', ' user:42', 'users:42', 'topic:x', ':', ':42', '*', 'user;42'], (address) => !isAddress(address)), [])
})

t.test('event, 1 to 64 of the allowed characters, passes', async (t) => {
  t.same(breaking(['message', 'stock', 'a', 'A-Z.a_z-0.9', '-', '.', '_', '0', 'x'.repeat(64), 'Sync', 'PING', 'syncs', 'constructor', '__proto__'], (event) => eventFault(event) === undefined), [])
})

t.test('event, with any other character or length, is malformed', async (t) => {
  t.same(breaking(['', 'x'.repeat(65), 'a b', ' a', 'a ', 'a\n', '\na', 'a\nb', 'a\rdata: x', 'a\0', 'ü', '日', 'a:b', 'a/b', '\u2028', 'sync\n', '😀'], (event) => eventFault(event) === 'malformed'), [])
})

t.test('event, one that the stream itself speaks, is reserved', async (t) => {
  t.same([...RESERVED_EVENTS].sort(), ['closed', 'error', 'expiring', 'open', 'ping', 'read', 'replaced', 'retracted', 'sync'])
  for (const event of RESERVED_EVENTS) t.equal(eventFault(event), 'reserved', event)
})

t.test('event, one that the stream itself speaks, is known by its name in Redis, in the browser module and in the README', async (t) => {
  const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
  const names = [...RESERVED_EVENTS].sort()
  const [, inRedis = ''] = /^local RESERVED = \{(.*)\}$/m.exec(read('src/broker/redis/functions/names.lua')) ?? []
  t.same([...inRedis.matchAll(/(\w+) = 1/g)].map(([, name]) => name).sort(), names, 'names.lua')
  const [, inReadme = ''] = /no\s+publisher\s+may\s+use: (.*?)\.\n/s.exec(read('README.md')) ?? []
  t.same([...inReadme.matchAll(/`(\w+)`/g)].map(([, name]) => name).sort(), names, 'README.md')
  // EventSource itself speaks of `open` and `error`.
  const spoken = names.filter((name) => !['open', 'error'].includes(name))
  const [, inModule = ''] = /\^\((.*)\)\$/.exec(read('client/src/handlers.ts')) ?? []
  t.same(inModule.split('|').sort(), spoken, 'client/src/handlers.ts')
  const [, inTypes = ''] = /^export type OwnEvent = (.*)$/m.exec(read('client/src/api.ts')) ?? []
  t.same(inTypes.replaceAll(/[ ']/g, '').split('|').sort(), spoken, 'client/src/api.ts')
})

t.test('event, whatever the text, can never break out of its line', async () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (event) => eventFault(event) !== undefined || /^[\x21-\x7e]+$/.test(event)))
})

function depthOf (value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return 1 + Math.max(0, ...Object.values(value).map(depthOf))
}

const nested = (depth: number, inner = ''): string => '['.repeat(depth) + inner + ']'.repeat(depth)
const nestedObjects = (depth: number): string => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth)

t.test('depth, up to the limit, passes and one more does not', async (t) => {
  t.equal(isTooDeep(nested(MAX_DATA_DEPTH)), false)
  t.equal(isTooDeep(nested(MAX_DATA_DEPTH + 1)), true)
  t.equal(isTooDeep(nestedObjects(MAX_DATA_DEPTH)), false)
  t.equal(isTooDeep(nestedObjects(MAX_DATA_DEPTH + 1)), true)
  t.equal(isTooDeep(nested(100_000)), true)
})

t.test('depth, of brackets inside strings, does not count', async (t) => {
  t.equal(isTooDeep(JSON.stringify('['.repeat(5000))), false)
  t.equal(isTooDeep(JSON.stringify(['\\', '"', '[{'.repeat(5000), '\\"'])), false)
  t.equal(isTooDeep(JSON.stringify({ ['{'.repeat(5000)]: '"[' })), false)
  t.equal(isTooDeep(nested(MAX_DATA_DEPTH, JSON.stringify('\\"[[['))), false)
  t.equal(isTooDeep(`[${'[],'.repeat(5000)}1]`), false, 'side by side is not deep')
})

t.test('depth, of any value wrapped to near the limit, is judged as counted by hand', async () => {
  fc.assert(fc.property(fc.jsonValue({ maxDepth: 6 }), fc.integer({ min: MAX_DATA_DEPTH - 8, max: MAX_DATA_DEPTH + 2 }), (value, wraps) =>
    isTooDeep(nested(wraps, JSON.stringify(value))) === (wraps + depthOf(value) > MAX_DATA_DEPTH)))
})

t.test('cursor, not named, is none', async (t) => {
  t.equal(parsePosition(undefined), 'fresh')
  t.equal(parsePosition(''), 'fresh')
})

t.test('cursor, a positive safe integer in plain decimal, is read', async (t) => {
  for (const cursor of [1, 42, 1763794000123456, Number.MAX_SAFE_INTEGER]) t.equal(parsePosition(String(cursor)), cursor)
})

t.test('cursor, anything else, is named and not ours', async (t) => {
  const foreign = ['0', '-1', '+1', '01', '1.0', '1.5', '1e3', '0x10', ' 1', '1 ', '1\n', 'abc', 'NaN', 'Infinity', '!replaced', '9007199254740992', '99999999999999999999', '1,2', '１', '1'.repeat(10_240), '\0', '1-0']
  t.same(breaking(foreign, (text) => parsePosition(text) === 'foreign'), [])
})

t.test('cursor, whatever the text, is a safe integer that prints as that text, or none, or foreign', async () => {
  fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.bigInt().map(String), fc.double().map(String)), (text) => {
    const cursor = parsePosition(text)
    if (text === '') return cursor === 'fresh'
    return cursor === 'foreign' || (typeof cursor === 'number' && Number.isSafeInteger(cursor) && String(cursor) === text && cursor > 0)
  }))
})

t.test('text of an id, of any whole number up to the largest safe one, is that of the number', async () => {
  const ids = fc.oneof(fc.nat(), fc.integer({ min: 1e15 - 1000, max: 1e15 + 1000 }), fc.integer({ min: 17_600_000, max: 18_000_000 }).map((head) => head * 1e8 + 7), fc.maxSafeNat())
  fc.assert(fc.property(ids, (id) => idText(id) === String(id)), { numRuns: 2000 })
})
