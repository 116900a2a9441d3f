// The contract of a broker, continued: who is in which group and since when, and who is there.
import type { Test } from 'tap'
import { MAX_GROUPS, TooManyGroups } from '../../src/broker/broker.ts'
import { enter, entriesOf, isGrowing, type MakeBackend, now, readPages, refusal, send, visitorOf } from './contract.ts'
import { becomes } from './nodes.ts'

const claim = (groups: readonly string[], issuedAtSeconds: number): { groups: readonly string[], issuedAtSeconds: number } => ({ groups, issuedAtSeconds })
const nowSeconds = (): number => Math.floor(Date.now() / 1000)
const many = (count: number, from = 0): string[] => Array.from({ length: count }, (_, i) => `g${from + i}`)

export function groups (t: Test, make: MakeBackend): void {
  t.test('enter, of a user nobody has heard of, is a membership of nothing', async (t) => {
    const { broker } = await (await make(t))()
    t.same([...await broker.groups('1')], [])
    t.same([...await enter(broker, '1', claim([], 0))], [])
  })

  t.test('enter, with a claim, joins its groups once and for all nodes', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const before = await now(a)
    const first = await enter(a.broker, '1', claim(['Complaints', 'Sales', 'Complaints'], nowSeconds()))
    t.same([...first.keys()].sort(), ['Complaints', 'Sales'])
    t.ok([...first.values()].every((id) => id > before), 'joined now')
    t.same(await enter(b.broker, '1', claim(['Sales', 'Complaints'], nowSeconds() + 60)), first, 'a later claim does not join anew')
    t.same(await b.broker.groups('1'), first)
    t.same([...await a.broker.groups('2')], [], 'nobody else is in them')
  })

  t.test('enter, with a claim that was issued before the group was left, does not bring it back', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.join('1', 'a')
    await a.broker.leave('1', 'a')
    t.same([...(await enter(b.broker, '1', claim(['a', 'b'], nowSeconds() - 10))).keys()], ['b'])
    t.same([...(await enter(b.broker, '1', claim(['a'], 0))).keys()], ['b'], 'nor a claim that does not say when')
  })

  t.test('enter, with a claim that was issued after the group was left, joins it anew', async (t) => {
    const { broker } = await (await make(t))()
    const joined = (await enter(broker, '1', claim(['a'], nowSeconds()))).get('a')!
    await broker.leave('1', 'a')
    const again = (await enter(broker, '1', claim(['a'], nowSeconds() + 60))).get('a')!
    t.ok(again > joined, 'from now on')
  })

  t.test('leave, of a group never joined, keeps an older claim from joining it', async (t) => {
    const { broker } = await (await make(t))()
    await broker.leave('1', 'a')
    t.same([...await enter(broker, '1', claim(['a'], nowSeconds() - 10))], [])
  })

  t.test('join and leave, in turn, act at once on every node and tell the user\'s channel alone', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.subscribe(['user:1', 'group:a'])
    await b.broker.subscribe(['user:{1}2', 'group:a', 'all'])
    await b.broker.join('1', 'a')
    t.same([...(await a.broker.groups('1')).keys()], ['a'])
    await a.broker.join('1', 'a')
    await a.broker.leave('1', 'a')
    t.same([...await b.broker.groups('1')], [])
    await b.broker.join('1', 'a')
    const membership = await b.broker.groups('1')
    const id = await send(b, ['user:1', 'user:{1}2'])
    await Promise.all([a.ear.id(id), b.ear.id(id)])
    t.match(a.ear.heard, [
      { userId: '1', control: 'join', group: 'a' },
      { userId: '1', control: 'leave', group: 'a' },
      { userId: '1', control: 'join', group: 'a' },
      { to: 'user:1' }
    ])
    t.equal(a.ear.heard.length, 4, 'to join twice is to join once')
    const ids = a.ear.controls.map(({ id }) => id)
    t.ok(isGrowing([...ids, id]), 'each with its place in the order of all ids')
    t.equal(membership.get('a'), ids[2], 'which is where the membership begins')
    t.match(b.ear.heard, [{ to: 'user:{1}2' }])
    t.equal(b.ear.heard.length, 1, 'a node without the user is not told')
  })

  t.test('replace, of some groups by others, leaves, keeps and joins', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.subscribe(['user:1'])
    await b.broker.replaceGroups('1', ['a', 'b'])
    const before = await b.broker.groups('1')
    await b.broker.replaceGroups('1', ['b', 'c', 'c'])
    const after = await b.broker.groups('1')
    t.same([...after.keys()].sort(), ['b', 'c'])
    t.equal(after.get('b'), before.get('b'), 'what is kept was joined when it was joined')
    await a.ear.id(await send(b, 'user:1', 'fence'))
    t.same(a.ear.memberships, ['join a', 'join b', 'leave a', 'join c'])
    await b.broker.replaceGroups('1', [])
    t.same([...await b.broker.groups('1')], [])
    t.same([...await enter(b.broker, '1', claim(['b', 'c'], nowSeconds() - 10))], [], 'and what was replaced counts as left')
  })

  t.test('groups, of names in every script, are kept as they are', async (t) => {
    const a = await (await make(t))()
    await a.broker.subscribe(['user:1'])
    const names = ['*', 'a:b', 'a/b', 'ü', '日本', '😀'.repeat(128), '\\', '"', '\u2028', 'constructor', '__proto__', '0', '1', '-1']
    for (const name of names) await a.broker.join('1', name)
    t.same([...(await a.broker.groups('1')).keys()].sort(), [...names].sort())
    await a.ear.id(await send(a, 'user:1', 'fence'))
    t.same(a.ear.memberships, names.map((name) => `join ${name}`))
  })

  t.test('groups, up to the limit, are joined and one more is refused', async (t) => {
    const { broker } = await (await make(t))()
    await broker.replaceGroups('1', many(MAX_GROUPS))
    t.type(await refusal(broker.join('1', 'one more')), TooManyGroups)
    t.notOk((await enter(broker, '1', claim(['one more'], nowSeconds()))).has('one more'), 'a claim must not lock its user out: what does not fit is left out')
    await broker.join('1', 'g0')
    t.equal((await enter(broker, '1', claim(many(MAX_GROUPS), nowSeconds()))).size, MAX_GROUPS, 'what is joined already does not count twice')
    await broker.leave('1', 'g0')
    await broker.join('1', 'one more')
    const membership = await broker.groups('1')
    t.equal(membership.size, MAX_GROUPS, 'one left makes room for one')
    t.notOk(membership.has('g0'))
    await broker.replaceGroups('1', many(MAX_GROUPS, 5000))
    t.same([...(await broker.groups('1')).keys()].sort(), many(MAX_GROUPS, 5000).sort(), 'as many others may take their place')
  })

  t.test('groups, replaced by more than the limit, are refused and stay as they were', async (t) => {
    const { broker } = await (await make(t))()
    await broker.replaceGroups('1', ['a', 'b'])
    const before = await broker.groups('1')
    t.type(await refusal(broker.replaceGroups('1', many(MAX_GROUPS + 1))), TooManyGroups)
    t.same(await broker.groups('1'), before)
  })

  t.test('group history, for one who joined later, begins at the join', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const cursor = await now(a)
    await send(b, 'group:a', 'before')
    await a.broker.join('1', 'a')
    const after = await send(b, 'group:a', 'after')
    const pages = await readPages(a, { cursor })
    t.same(entriesOf(pages), [{ id: after, event: 'message', json: '"after"' }])
    t.equal(pages.at(-1)!.gap, false)
    t.equal(pages.at(-1)!.inbox.unread, 1, 'and counts from there')
    await a.broker.leave('1', 'a')
    await send(b, 'group:a', 'while not in it')
    await a.broker.join('1', 'a')
    const back = await send(b, 'group:a', 'back')
    t.same(entriesOf(await readPages(a, { cursor })).map(({ id }) => id), [after, back], 'what came while they were not in it is not shown')
  })

  t.test('a membership, of a claim, outlives the token by the history, so that nobody comes back to a hole', async (t) => {
    const historySeconds = 3
    const a = await (await make(t, { historySeconds, bornSecondsAgo: 60 }))()
    const reaches = async (second: number) => { await becomes(async () => await now(a) >= second * 1_000_000, `second ${second} of the broker's clock`) }
    const opened = Math.floor(await now(a) / 1_000_000)
    const resume = async (cursor: number | 'fresh', issuedAtSeconds: number, expiresAtSeconds: number) =>
      await a.broker.resume({ ...visitorOf('1'), user: { userId: '1', issuedAtSeconds, expiresAtSeconds }, groups: ['a'], cursor, maxBytes: 1000 })
    const expires = opened + historySeconds + 1
    await resume('fresh', opened, expires)
    // The stream is open until its token expires; the history counts from then on, and not from the opening.
    await reaches(expires)
    const { position } = await a.broker.position({ userId: '1' })
    await reaches(opened + historySeconds + 2)
    await send(a, 'group:a', 'while away')
    t.match(await resume(position, opened + 1, opened + 1000), { gap: false, entries: [{ json: '"while away"' }] })
  })

  t.test('a group, that the routes took away, is remembered for longer than a short history', async (t) => {
    const a = await (await make(t, { historySeconds: 1 }))()
    await a.broker.leave('1', 'a')
    const second = Math.floor(await now(a) / 1_000_000)
    await becomes(async () => await now(a) >= (second + 3) * 1_000_000, 'two seconds of the broker\'s clock')
    t.equal((await enter(a.broker, '1', { groups: ['a'], issuedAtSeconds: second - 60 })).size, 0)
  })

  t.test('presence, of a user, is the nodes that are subscribed to them', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    t.equal(await a.broker.presence('1'), 0)
    await a.broker.subscribe(['user:1', 'group:1'])
    t.equal(await a.broker.presence('1'), 1)
    await b.broker.subscribe(['user:1', 'all'])
    t.equal(await a.broker.presence('1'), 2)
    t.equal(await b.broker.presence('1'), 2)
    b.broker.unsubscribe(['user:1'])
    await b.broker.subscribe(['user:fence'])
    t.equal(await a.broker.presence('1'), 1)
    t.equal(await a.broker.presence('2'), 0)
  })
}
