// What other services send through Redis: FCALL tidings_publish refuses what is wrong and stores nothing; PUBLISH drops it and hurts nobody.
import { isUtf8 } from 'node:buffer'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { Redis } from '../fixtures/redis.ts'
import { startRedis } from '../fixtures/redis.ts'
import { MAX_DATA_DEPTH, RESERVED_EVENTS } from '../../src/notification.ts'
import { Uncertain } from '../../src/broker/broker.ts'
import { entriesOf, listOf, now, readPages, refusal, send } from './contract.ts'
import { type RedisNode, startRedisNode, up } from './nodes.ts'

const shared = await startRedis(t)
let count = 0

async function start (t: Test, channels: readonly string[] = ['user:42', 'all']): Promise<RedisNode & { redis: Redis, prefix: string }> {
  const prefix = `${shared.prefix}:${++count}`
  const node = startRedisNode(t, shared, {}, prefix)
  await up(node)
  await node.broker.subscribe(channels)
  return { ...node, redis: shared, prefix }
}

/** The error's words, or 'taken'. */
const fcall = (prefix: string, ...args: Array<string | Buffer>): Promise<string> =>
  shared.cli('FCALL', 'tidings_publish', 1, prefix, ...args).then(() => 'taken', (error: Error) => error.message)

/** Bytes that are no UTF-8, each in its way. */
const noUtf8 = [[0xff, 0xfe], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xe0, 0x80, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xc3], [0x80], [0xe2, 0x82]].map((bytes) => Buffer.from(bytes))

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
const nestedObjects = (depth: number): string => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth)

t.test('FCALL, right, returns id and receivers, is heard, and stands in the log', async (t) => {
  const { ear, broker, prefix } = await start(t)
  const [id, receivers] = await shared.cli('FCALL', 'tidings_publish', 1, prefix, 'user:42', 'stock', ' {"title" :\t"é\\u2028\\ud800 x",\r\n "n": [1.50, -0e2]} ') as [string, number]
  t.match(id, /^\d{16}$/)
  t.equal(receivers, 1)
  await ear.id(Number(id))
  const json = ' {"title" :\t"é\\u2028\\ud800 x",   "n": [1.50, -0e2]} '
  t.same(ear.heard, [{ to: 'user:42', id: Number(id), event: 'stock', json }], 'as it was written, on one line')
  t.same(entriesOf(await readPages({ broker, ear }, { userId: '42', cursor: Number(id) - 1 })), [{ id: Number(id), event: 'stock', json }])
  t.same(await shared.cli('FCALL', 'tidings_publish', 1, prefix, 'group:nobody', 'message', '1').then((reply) => (reply as [string, number])[1]), 0)
})

t.test('FCALL, to addresses and with names at their limits, is taken', async (t) => {
  const { prefix } = await start(t)
  for (const address of ['all', 'user:a', 'group:a', 'user:a b:c', `user:${'😀'.repeat(128)}`, `group:${'x'.repeat(128)}`, 'user:\u00a0', 'user:\u2028']) {
    t.equal(await fcall(prefix, address, 'message', '1'), 'taken', address.slice(0, 20))
  }
  for (const event of ['a', 'x'.repeat(64), 'A-Z.a_z-0.9', 'Sync', '-']) t.equal(await fcall(prefix, 'all', event, '1'), 'taken', event)
})

t.test('FCALL, wrong in any way, is refused with its reason and nothing is stored', async (t) => {
  const { ear, broker, prefix } = await start(t, ['all'])
  const cursor = await now({ broker, ear })
  const keysBefore = await shared.cli('KEYS', `${prefix}:*`)
  const wrong: Array<[string, Array<string | Buffer>]> = [
    ...['', 'user', 'user:', 'group:', '42', 'All', 'all ', ' all', 'topic:x', 'users:1', 'user:a\0b', 'user:a\nb', 'user:\x1f', 'user:\x7f', 'user:\u0080', 'user:\u0085x', 'user:\u009f',
      `user:${'x'.repeat(129)}`, `group:${'😀'.repeat(129)}`, `user:${'x'.repeat(10_000)}`].map((address): [string, string[]] => ['TIDINGS_BAD_ADDRESS', [address, 'message', '1']]),
    ...[...RESERVED_EVENTS].map((event): [string, string[]] => ['TIDINGS_RESERVED_EVENT', ['all', event, '1']]),
    ...['', 'x'.repeat(65), 'a b', 'a\n', '\na', 'a\nid: 1', 'a\r', 'a\0', 'ü', 'a:b', 'a"b'].map((event): [string, string[]] => ['TIDINGS_BAD_EVENT', ['all', event, '1']]),
    ...['', ' ', 'x', 'undefined', 'NaN', 'Infinity', '-Infinity', 'nan', 'inf', 'True', 'nul', 'nullx', '01', '-', '-01', '+1', '.5', '1.', '1.e5', '1e', '1e+', '0x10', '1_000', '1 2', "'a'",
      '"a', 'a"', '"a\nb"', '"a\tb"', '"a\0b"', '"\\x41"', '"\\u12"', '"\\u12g4"', '"\\ud8"', '"\\', '[', ']', '[1,]', '[,1]', '[1 2]', '{', '{}}', '{"a"}', '{"a":}', '{"a":1,}', '{a:1}', '{1:1}', '{"a":1 "b":2}',
      '[1]]', '1,2', '// x\n1', '/**/1', '\ufeff1', '1\0', '\v1', '\f1', '\u00a01', '["a" "b"]', 'true false', '--1', '1-2', '{"a":1},'].map((json): [string, string[]] => ['TIDINGS_BAD_JSON', ['all', 'message', json]]),
    ['TIDINGS_BAD_JSON', ['all', 'message', Buffer.from([0xff])]],
    ...noUtf8.map((name): [string, Array<string | Buffer>] => ['TIDINGS_BAD_ADDRESS', [Buffer.concat([Buffer.from('user:'), name]), 'message', '1']]),
    ['TIDINGS_DATA_TOO_LARGE', ['all', 'message', JSON.stringify('x'.repeat(65_535))]],
    ['TIDINGS_DATA_TOO_LARGE', ['all', 'message', JSON.stringify('é'.repeat(32_768))]],
    ['TIDINGS_DATA_TOO_DEEP', ['all', 'message', nested(MAX_DATA_DEPTH + 1)]],
    ['TIDINGS_DATA_TOO_DEEP', ['all', 'message', nestedObjects(MAX_DATA_DEPTH + 1)]],
    ['TIDINGS_DATA_TOO_DEEP', ['all', 'message', nested(30_000)]],
    ['TIDINGS_BAD_REQUEST', []],
    ['TIDINGS_BAD_REQUEST', ['all']],
    ['TIDINGS_BAD_REQUEST', ['all', '1']],
    ['TIDINGS_BAD_REQUEST', ['all', 'message', '1', '2']]
  ]
  const answers = await Promise.all(wrong.map(async ([code, args]) => ({ code, args: args.map((arg) => String(arg).slice(0, 40)), answer: await fcall(prefix, ...args) })))
  t.same(answers.filter(({ code, answer }) => !answer.startsWith(`${code} `)), [], `${wrong.length} of them`)
  t.same(answers.filter(({ answer }) => !/ (use|choose|call|more than|not valid|nests)\b/i.test(answer)), [], 'each says what is wrong')
  for (const keys of [[], [prefix, prefix]]) {
    await t.rejects(shared.cli('FCALL', 'tidings_publish', keys.length, ...keys, 'all', 'message', '1'), /TIDINGS_BAD_REQUEST Call it so: FCALL tidings_publish 1 <prefix>/)
  }
  t.same((await shared.cli('KEYS', `${prefix}:*`) as string[]).sort(), (keysBefore as string[]).sort(), 'no key was made')
  const fence = await send({ broker, ear }, 'all', 'fence')
  await ear.id(fence)
  t.same(ear.heard.length, 1, 'nobody heard of it')
  t.same(entriesOf(await readPages({ broker, ear }, { cursor })).map(({ id }) => id), [fence], 'and no log has it')
})

t.test('FCALL, with options that are wrong, is refused with what to do; at their limits they are taken', async (t) => {
  const { ear, broker, prefix } = await start(t, ['all'])
  const keysBefore = await shared.cli('KEYS', `${prefix}:*`) as string[]
  const PARENT = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  const noNames = ['', 'k'.repeat(129), '😀'.repeat(129), 'a\nb', 'a\0', '\x1f', '\x7f', '\u0085', 'x'.repeat(10_000), ...noUtf8]
  const wrong: Array<[string, Array<string | Buffer>]> = [
    ...['', 'forever', 'inbox ', 'nones', '0'].map((keep): [string, string[]] => ['TIDINGS_BAD_KEEP', ['KEEP', keep]]),
    ...['', '0', '-1', '1.5', '1e3', '+5', ' 5', '0x10', 'x', '86401', '9'.repeat(16), '9'.repeat(400)].map((ttl): [string, string[]] => ['TIDINGS_BAD_TTL', ['TTL', ttl]]),
    ...noNames.flatMap((name): Array<[string, Array<string | Buffer>]> => [['TIDINGS_BAD_KEY', ['KEY', name]], ['TIDINGS_BAD_IDEMPOTENCY_KEY', ['IDEMPOTENCY', name]]]),
    ...['', '00', `00-${'g'.repeat(32)}-${'b'.repeat(16)}-01`, `${PARENT}-more`, `01${PARENT.slice(2)}.more`].map((text): [string, string[]] => ['TIDINGS_BAD_TRACEPARENT', ['TRACEPARENT', text]]),
    ...[['KEY'], ['TTL', '5', 'KEY'], ['TIME', '5'], ['', ''], ['KEY', 'k', 'KEY', 'l'], ['key', 'k', 'KEY', 'k']].map((options): [string, string[]] => ['TIDINGS_BAD_REQUEST', options])
  ]
  const answers = await Promise.all(wrong.map(async ([code, options]) => ({ code, options: options.map((option) => String(option).slice(0, 40)), answer: await fcall(prefix, 'all', 'message', '1', ...options) })))
  t.same(answers.filter(({ code, answer }) => !answer.startsWith(`${code} `)), [], `${wrong.length} of them`)
  t.same(answers.filter(({ answer }) => !/ (use|call|give)\b/i.test(answer)), [], 'each says what to do')

  const retract = (...args: Array<string | Buffer>): Promise<unknown> => shared.cli('FCALL', 'tidings_retract', 1, prefix, ...args).catch((error: Error) => error.message.split(' ')[0])
  for (const key of noNames) t.equal(await retract('all', 'KEY', key), 'TIDINGS_BAD_KEY')
  for (const id of ['', '0', '-1', '1.5', '1e15', '01', 'x', '9'.repeat(17), 'x'.repeat(10_000)]) t.equal(await retract('all', 'ID', id), 'TIDINGS_BAD_REQUEST', `ID ${id.slice(0, 20)}`)
  for (const args of [[], ['all'], ['all', 'KEY'], ['all', 'NAME', 'k'], ['all', 'ID', '1', 'KEY', 'k']]) t.equal(await retract(...args), 'TIDINGS_BAD_REQUEST', args.join(' '))
  for (const address of ['', 'nobody', 'user:', 'all ']) t.equal(await retract(address, 'ID', '1'), 'TIDINGS_BAD_ADDRESS', address)
  for (const what of [['ID', '1'], ['ID', '9'.repeat(16)], ['KEY', 'none']]) t.equal(await retract('all', ...what), 0, 'what is not there')
  t.same((await shared.cli('KEYS', `${prefix}:*`) as string[]).sort(), keysBefore.sort(), 'no key was made')

  for (const options of [['KEEP', 'REPLAY'], ['keep', 'none'], ['TTL', '1'], ['TTL', '86400'], ['KEY', 'k'.repeat(128)], ['Key', '😀'.repeat(128)], ['IDEMPOTENCY', '😀'.repeat(128)], ['TRACEPARENT', PARENT], ['TRACEPARENT', `01${PARENT.slice(2)}-more`]]) {
    t.equal(await fcall(prefix, 'all', 'message', '1', ...options), 'taken', options.join(' ').slice(0, 20))
  }
  t.equal(await retract('all', 'KEY', 'k'.repeat(128)), 1)
  t.equal(await retract('all', 'KEY', 'k'.repeat(128)), 0, 'twice')
  await ear.id(await send({ broker, ear }, 'all', 'fence'))
  t.equal(ear.notifications.filter(({ event }) => event === 'message').length, 10, 'those, and the fence')
})

t.test('FCALL, with data at the limits of size and depth, is taken and reaches its readers', async (t) => {
  const { ear, broker, prefix } = await start(t)
  const cursor = await now({ broker, ear })
  const all = [JSON.stringify('x'.repeat(65_534)), JSON.stringify('é'.repeat(32_767)), nested(MAX_DATA_DEPTH), nestedObjects(MAX_DATA_DEPTH)]
  for (const json of all) t.equal(await fcall(prefix, 'user:42', 'message', json), 'taken')
  await ear.count(all.length)
  t.same(ear.notifications.map(({ json }) => json), all)
  t.same(entriesOf(await readPages({ broker, ear }, { userId: '42', cursor })).map(({ json }) => json), all)
})

t.test('FCALL, with an IDEMPOTENCY key that was used for another address, is published there, once', async (t) => {
  const { prefix } = await start(t)
  const publish = (address: string): Promise<unknown> => shared.cli('FCALL', 'tidings_publish', 1, prefix, address, 'message', '1', 'IDEMPOTENCY', 'order-17')
  for (const address of ['user:ann', 'user:bob', 'group:ann', 'all']) {
    const first = await publish(address)
    t.same(await publish(address), first, 'the same again')
    t.equal(await shared.cli('XLEN', `${prefix}:log:${address}`), 1, address)
  }
})

const piece = fc.constantFrom('{', '}', '[', ']', '"', ',', ':', '\\', '/', ' ', '\t', '\n', '\r', '\0', '\x01', '\x1f', '\x7f', '\v', '0', '1', '9', '+', '-', '.', 'e', 'E', 'u', 'x', 'd', 'D', 'true',
  'false', 'null', 'NaN', 'Infinity', '\\u0000', '\\ud800', '\\uDFFF', '\\uD83D\\uDE00', '\\\\', '\\"', '\\n', '1e999', '-0', '0.10', '00', '""', '[]', '{}', '{"":0}', 'é', '😀', '\u2028', '\ufeff', '\u0085')
const soup = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''))
const edits = fc.array(fc.record({ at: fc.nat(1000), take: fc.nat(3), put: fc.oneof(fc.constant(''), piece) }), { maxLength: 3 })
const mutated = fc.tuple(fc.oneof(fc.json({ stringUnit: 'binary' }), fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value, null, 1))), edits).map(([json, edits]) =>
  edits.reduce((text, { at, take, put }) => {
    const from = at % (text.length + 1)
    return text.slice(0, from) + put + text.slice(from + take)
  }, json))
const torn = fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.concat([Buffer.from('"'), bytes, Buffer.from('"')]))
const almostJson = fc.oneof(mutated.map((text) => Buffer.from(text)), soup.map((text) => Buffer.from(text)), soup.map((text) => Buffer.from(`"${text}"`)), torn)

function parses (text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

t.test('the keys of an address, a key of another type, make a publish and a retraction fail before anything of them is done', async (t) => {
  const { ear, broker, prefix } = await start(t, ['user:1', 'user:2'])
  const node = { broker, ear }
  const keys = `${prefix}:keys:user:2`
  const older = await send(node, ['user:1', 'user:2'], 'older', { key: 'k' })
  await shared.cli('RENAME', keys, `${keys}-aside`)
  await shared.cli('SET', keys, 'stuck')
  for (let i = 0; i < 2; i++) t.type(await refusal(send(node, ['user:1', 'user:2'], 'newer', { key: 'k', idempotencyKey: 'i' })), Uncertain)
  t.same((await listOf(node, '1')).notifications.map(({ id }) => id), [older], 'what it would have replaced elsewhere stays')
  t.type(await refusal(broker.retract({ to: 'user:2', what: { id: older } })), Uncertain)
  t.same((await listOf(node, '2')).notifications.map(({ id }) => id), [older], 'and so does what nobody was told of')
  await shared.cli('RENAME', `${keys}-aside`, keys)
  t.equal(await broker.retract({ to: 'user:2', what: { id: older } }), true)
  await ear.until(() => ear.events('retracted')[0], 'the retraction')
  const newer = await send(node, ['user:1', 'user:2'], 'newer', { key: 'k', idempotencyKey: 'i' })
  for (const user of ['1', '2']) t.same((await listOf(node, user)).notifications.map(({ id }) => id), [newer])
})

t.test('FCALL, of anything that looks like JSON, is taken exactly if it is UTF-8 that JSON.parse takes, and reads back as the same value', async (t) => {
  const { ear, broker, prefix } = await start(t, [])
  await fc.assert(fc.asyncProperty(fc.array(almostJson, { minLength: 1, maxLength: 40 }), async (all) => {
    const cursor = await now({ broker, ear })
    const taken = await Promise.all(all.map(async (json) => await fcall(prefix, 'user:1', 'message', json) === 'taken'))
    const isRight = (json: Buffer): boolean => isUtf8(json) && parses(json.toString())
    const wrong = all.filter((json, i) => isRight(json) !== taken[i]).map((json) => json.toString('latin1'))
    if (wrong.length > 0) throw new Error(`Redis and JSON.parse disagree on ${JSON.stringify(wrong)}`)
    const read = entriesOf(await readPages({ broker, ear }, { cursor })).map(({ json }) => json)
    const sent = all.filter(isRight).map((json) => json.toString().replace(/[\r\n]/g, ' '))
    if (JSON.stringify(read) !== JSON.stringify(sent)) throw new Error(`stored ${JSON.stringify(sent)}, read ${JSON.stringify(read)}`)
  }), { numRuns: 150 })
})

t.test('PUBLISH, right, is heard without an id and not kept', async (t) => {
  const { ear, broker, prefix } = await start(t)
  const cursor = await now({ broker, ear })
  const plain: Array<[string | Buffer, { event: string, json: string }]> = [
    ['{"event":"stock","data":{"title":"x"}}', { event: 'stock', json: '{"title":"x"}' }],
    ['{"data":1}', { event: 'message', json: '1' }],
    [Buffer.from('{"data":"a\xff"}', 'latin1'), { event: 'message', json: '"a\ufffd"' }], // docs/publishing.md says so
    ['{"data":null}', { event: 'message', json: 'null' }],
    [' {"data" : "a\\u2028\\n\\ud800",\n "more": [1] } ', { event: 'message', json: '"a\\u2028\\n\\ud800"' }],
    ['{"data":1,"more":{"data":2},"d\\u0061ta" : 1.10 }', { event: 'message', json: '1.10' }],
    ['{"data":12345678901234567890}', { event: 'message', json: '12345678901234567890' }],
    ['{"data":{"a":[1e400,\r\n"}",{}]},"event":"stock"}', { event: 'stock', json: '{"a":[1e400,  "}",{}]}' }],
    ['{"data":1,"key":"k","keep":"inbox","ttl":60}', { event: 'message', json: '1' }],
    // Members that mean something in what the library sends are another service's own without its nonce.
    ...['"once":"a"', '"once":"a","n":"b"', '"control":7', '"control":"logout","id":"7"', '"control":"join","n":"b","id":"7","subject":"g"', '"tidings":1', '"tidings":1,"once":"a"', '"by":"b","n":7']
      .flatMap((member): typeof plain => [13, 14].map((data) => [`{${member},"data":${data}}`, { event: 'message', json: String(data) }])),
    ['{"id":9007199254740991,"data":"own id"}', { event: 'message', json: '"own id"' }],
    ['{"id":"7\\nevent: sync","data":"own id"}', { event: 'message', json: '"own id"' }],
    [JSON.stringify({ data: 'x'.repeat(65_534) }), { event: 'message', json: JSON.stringify('x'.repeat(65_534)) }],
    [`{"data":${nested(MAX_DATA_DEPTH)}}`, { event: 'message', json: nested(MAX_DATA_DEPTH) }]
  ]
  for (const [payload] of plain) t.equal(await shared.cli('PUBLISH', `${prefix}:user:42`, payload), 1)
  await ear.id(await send({ broker, ear }, 'all', 'fence'))
  t.same(ear.drops, [])
  const heard = ear.notifications.slice(0, -1)
  t.equal(heard.length, plain.length)
  t.same(heard.filter((one, i) => !isDeepStrictEqual(one, { to: 'user:42', id: 0, ...plain[i]![1] })).map(({ json }) => json.slice(0, 80)), [])
  t.same(entriesOf(await readPages({ broker, ear }, { userId: '42', cursor })).length, 1, 'only the fence has a place in a log')
})

t.test('PUBLISH, wrong in any way, is dropped with its reason and what comes next is heard', async (t) => {
  const { ear, broker, prefix } = await start(t)
  const wrong: Array<[string, Array<string | Buffer>]> = [
    ['malformed', ['', ' ', 'hello', '{', '{"data":', 'null', '1', '"x"', '[]', '[{"data":1}]', '{}', '{"event":"stock"}', '{"event":null,"data":1}', '{"event":7,"data":1}', '{"event":"","data":1}',
      '{"event":"a b","data":1}', '{"event":"a\\nid: 1","data":1}', `{"event":"${'x'.repeat(65)}","data":1}`, '{"event":"é","data":1}', `{"data":${nested(MAX_DATA_DEPTH + 1)}}`, `{"data":${nested(30_000)}}`,
      '{"control":"join"}', '{"control":"leave","id":7,"subject":7}', '{"control":"dance","id":7,"subject":"a"}', '{"control":"logout"}', '{"control":"logout","id":"x"}',
      // What JSON.parse takes and what comes after it chokes on.
      '{"control":"join","id":{"toString":1,"valueOf":1},"subject":"a"}', `{"control":"join","id":${nested(20_000)},"subject":"a"}`, Buffer.from([0xff, 0xfe]), Buffer.from('{"data":"\xff', 'latin1')]],
    ['reserved', [...RESERVED_EVENTS].map((event) => JSON.stringify({ event, data: 1 }))],
    ['oversized', [JSON.stringify({ data: 'x'.repeat(65_535) }), JSON.stringify({ data: 'é'.repeat(32_768) }), JSON.stringify({ data: 'x'.repeat(1_000_000) }), 'x'.repeat(100_000)]],
    // What bears no nonce, or another.
    ['malformed', [`{"tidings":1,"id":${Date.now() * 1000},"event":"message","data":"forged"}`, `{"tidings":1,"n":"","id":${Date.now() * 1000},"event":"message","data":"forged"}`,
      `{"tidings":1,"n":"${'0'.repeat(32)}","id":${Date.now() * 1000},"event":"message","data":"forged"}`, `{"control":"join","n":"${'0'.repeat(32)}","id":"7","subject":"a"}`, '{"control":"logout","id":"7"}',
      `{"tidings":1,"id":${Date.now() * 1000},"event":"message","data":"${'x'.repeat(16_800_000)}"}`,
      '{"tidings":1,', '{"tidings":1,"id":1}', '{"tidings":1,"id":"7","event":"message","data":1}', '{"tidings":1,"id":1.5,"event":"message","data":1}',
      '{"tidings":1,"id":-1,"event":"message","data":1}', '{"tidings":1,"id":1e300,"event":"message","data":1}', '{"tidings":1,"id":1,"event":"a\\nid: 5\\nevent: sync","data":1}', '{"tidings":1,"id":1,"event":7,"data":1}',
      '{"tidings":1,"id":1,"event":"sync","data":1}', '{"tidings":1,"id":9007199254740991,"event":"message","data":1}',
      `{"tidings":1,"id":${Date.now() * 1000},"event":"message","data":${nested(400_000)}}`]]
  ]
  const payloads = wrong.flatMap(([reason, payloads]) => payloads.map((payload) => ({ reason, payload })))
  for (const { payload } of payloads) await shared.cli('PUBLISH', `${prefix}:user:42`, payload)
  await ear.id(await send({ broker, ear }, 'all', 'fence'))
  const unlike = payloads.flatMap(({ reason, payload }, i) => ear.drops[i]?.reason === reason ? [] : [{ payload: String(payload).slice(0, 80), reason, found: ear.heard[i] }])
  t.same(unlike.slice(0, 3), [])
  t.equal(ear.drops.length, payloads.length)
  t.ok(ear.drops.every(({ dropped }) => dropped === 'user:42'))
  t.equal(ear.notifications.length, 1)
  t.equal(broker.state().up, true)
})

t.test('PUBLISH, of random payloads, never stops a node and never yields what a frame cannot hold', async (t) => {
  const { ear, broker, prefix } = await start(t)
  const value = fc.oneof(fc.jsonValue({ stringUnit: 'binary' }), fc.constantFrom('sync', 'stock', 'join', 'leave', 'a\nb', 1, 0))
  const envelope = fc.record({ tidings: fc.constantFrom(1, 2), id: value, event: value, data: value, control: value, subject: value }, { requiredKeys: [] }).map((object) => Buffer.from(JSON.stringify(object)))
  await fc.assert(fc.asyncProperty(fc.array(fc.oneof(envelope, almostJson), { maxLength: 20 }), async (payloads) => {
    const from = ear.heard.length
    for (const payload of payloads) await shared.cli('PUBLISH', `${prefix}:user:42`, payload)
    const fence = await send({ broker, ear }, 'all', 'fence')
    await ear.id(fence)
    const told = ear.heard.slice(from, -1)
    if (told.length !== payloads.length) throw new Error(`${payloads.length} were published and ${told.length} told of`)
    for (const one of told) {
      if (!('to' in one)) continue
      if (!Number.isSafeInteger(one.id) || one.id < 0 || !/^[\w.-]{1,64}$/.test(one.event) || typeof one.json !== 'string' || /[\r\n]/.test(one.json)) throw new Error(`told ${JSON.stringify(one)}`)
    }
  }), { numRuns: 100 })
})
