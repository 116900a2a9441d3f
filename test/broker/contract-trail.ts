// The contract of Trail: what nodes note is found by all, and what is known of one notification for one user.
import type { Test } from 'tap'
import { FuturePosition } from '../../src/broker/inbox.ts'
import { MAX_GONE, MAX_TRAIL } from '../../src/broker/trail.ts'
import { type MakeBackend, readerOf, readPages, refusal, request, send } from './contract.ts'

const always = [{ from: 0, to: Infinity }]

export function trail (t: Test, make: MakeBackend): void {
  t.test('evidence, of what was published to a user, to all and to a group, says where it stands and since when they are in it', async (t) => {
    const more = await make(t)
    const node = await more()
    await node.broker.join('1', 'g')
    const joined = (await node.broker.groups('1')).get('g')!
    const id = await send(node, ['user:1', 'all', 'group:g', 'user:2', 'group:other'])
    const { places, trimmed, isForgetful, position, historyFrom } = await node.broker.trail.evidence('1', id)
    t.same([...places].sort((a, b) => a.to < b.to ? -1 : 1), ['all', 'group:g', 'user:1'].map((to) =>
      ({ to, state: 'kept', goneAt: 0, keep: 'inbox', expiresAt: undefined, memberships: to === 'group:g' ? [{ from: joined, to: Infinity }] : always })))
    t.match({ trimmed, isForgetful }, { trimmed: [], isForgetful: false })
    t.ok(position >= id && historyFrom < id)
    t.same((await node.broker.trail.evidence('3', await send(node, 'user:1'))).places, [], 'and nothing of others')
    t.type(await refusal(node.broker.trail.evidence('1', position + 60_000_000)), FuturePosition)
  })

  t.test('evidence, of a group joined later, and of one left before, says when that was', async (t) => {
    const node = await (await make(t))()
    const early = await send(node, 'group:g')
    await node.broker.join('1', 'g')
    const joined = (await node.broker.groups('1')).get('g')!
    const during = await send(node, 'group:g')
    await node.broker.leave('1', 'g')
    const late = await send(node, 'group:g')
    const evidence = async (id: number) => await node.broker.trail.evidence('1', id)
    const [ownDuring, ownLate] = [(await evidence(during)).id, (await evidence(late)).id]
    // A partition in which nobody was in the group has not heard of what went there before: the group's home has.
    for (const id of [early, during, late]) {
      const { memberships } = (await evidence(id)).places[0]!
      t.match(memberships, [{ from: joined }])
      t.ok(memberships[0]!.to > ownDuring && memberships[0]!.to < ownLate)
    }
    t.same((await node.broker.trail.evidence('2', during)).places, [], 'who never was in it is told nothing')
  })

  t.test('evidence, of what was retracted, replaced or has expired, says which and when', async (t) => {
    const node = await (await make(t))()
    const retracted = await send(node, 'user:1')
    await node.broker.retract({ to: 'user:1', what: { id: retracted } })
    const replaced = await send(node, 'user:1', 'old', { key: 'k' })
    const newer = await send(node, 'user:1', 'new', { key: 'k' })
    const stateOf = async (id: number) => (await node.broker.trail.evidence('1', id)).places.map(({ state, goneAt }) => [state, goneAt])
    const [[state, goneAt]] = await stateOf(retracted) as [[string, number]]
    t.equal(state, 'retracted')
    t.ok(goneAt >= retracted && goneAt <= newer)
    t.same(await stateOf(replaced), [['replaced', newer]])
    t.same(await stateOf(newer), [['kept', 0]])
    const short = await send(node, 'user:1', 'short', { ttlSeconds: 1 })
    const { expiresAt } = (await node.broker.trail.evidence('1', short)).places[0]!
    t.equal(expiresAt, short + 1_000_000)
    await node.broker.mark(readerOf('1'), newer, 'dismissed')
    t.match(await node.broker.trail.evidence('1', newer), { mark: 'dismissed' })
    await node.broker.moveCursor(readerOf('1'), 'read', newer)
    t.match(await node.broker.trail.evidence('1', newer), { read: newer, seen: newer })
  })

  t.test('evidence, of what has expired and was let go by a reader, says so still', async (t) => {
    const node = await (await make(t))()
    const id = await send(node, 'user:1', 'short', { ttlSeconds: 1 })
    const isOver = async () => (await node.broker.trail.evidence('1', id)).position > id + 1_000_000
    while (!await isOver()) await new Promise((resolve) => setTimeout(resolve, 50))
    await readPages(node, { cursor: id - 1 })
    const { state, goneAt, expiresAt } = (await node.broker.trail.evidence('1', id)).places[0]!
    t.equal(state === 'kept' ? expiresAt : goneAt, id + 1_000_000)
  })

  t.test('evidence, of what was trimmed or is one of many that were taken out, does not pretend to know', async (t) => {
    const node = await (await make(t, { historyLength: 10 }))()
    const old = await send(node, 'user:1')
    for (let i = 0; i < 110; i++) await send(node, 'user:1')
    const { places, trimmed } = await node.broker.trail.evidence('1', old)
    t.match({ places, trimmed }, { places: [], trimmed: [{ to: 'user:1' }] })
    t.ok(trimmed[0]!.upTo > old)
    const first = await send(node, 'user:2', 0, { key: 'k' })
    for (let i = 0; i <= MAX_GONE; i++) await send(node, 'user:2', i, { key: 'k' })
    t.match(await node.broker.trail.evidence('2', first), { places: [], isForgetful: true })
  })

  t.test('notes and receipts, of two nodes, are found by each when they have gone out', async (t) => {
    const more = await make(t)
    const [a, b] = [await more(), await more()]
    const ids = [await send(a, 'user:1'), await send(a, 'user:1'), await send(a, 'user:1')] as [number, number, number]
    const atMs = Math.round(ids[0] / 1000) + 5
    for (const id of ids) a.broker.trail.wrote('node-a', a.broker.channelOf('1', 'user:1'), id, { atMs, streams: 2 })
    b.broker.trail.wrote('node-b', b.broker.channelOf('1', 'user:1'), ids[1])
    a.broker.trail.note('1', 'open first')
    a.broker.trail.note('1', 'end second')
    a.broker.trail.note('1', 'read third')
    a.broker.trail.note('2', 'open of another')
    await Promise.all([a.broker.trail.flush(), b.broker.trail.flush()])
    const evidence = await b.broker.trail.evidence('1', ids[0])
    t.match(evidence, { trail: ['end second', 'open first'], reads: ['read third'], receipts: [{ node: 'node-a', atMs, streams: 2 }] })
    t.equal(evidence.trail.length, 2)
    t.same([...evidence.written].sort(), [['node-a', ids[2]], ['node-b', ids[1]]])
    t.same((await b.broker.trail.evidence('1', ids[1])).receipts.length, 1, 'without a receipt there is none')
  })

  t.test('evidence, of what was published before or while one of the nodes keeps no receipts, says so on each', async (t) => {
    const more = await make(t)
    const [a, b] = [await more(), await more()]
    const before = await send(a, 'user:1')
    t.equal((await a.broker.trail.evidence('1', before)).isUnnoted, false)
    b.broker.trail.keepsNone()
    await b.broker.trail.flush()
    for (const id of [before, await send(a, 'user:1')]) t.equal((await a.broker.trail.evidence('1', id)).isUnnoted, true)
  })

  t.test('notes, of somebody who comes and goes, are the newest', async (t) => {
    const node = await (await make(t))()
    for (let i = 0; i < MAX_TRAIL + 10; i++) node.broker.trail.note('1', `open ${i}`)
    for (let i = 0; i < MAX_TRAIL + 10; i++) node.broker.trail.note('1', `read ${i}`)
    await node.broker.trail.flush()
    const { trail, reads } = await node.broker.trail.evidence('1', (await node.broker.publish(request('all'))).id!)
    t.same([trail.length, trail[0], reads.length, reads[0]], [MAX_TRAIL, `open ${MAX_TRAIL + 9}`, MAX_TRAIL, `read ${MAX_TRAIL + 9}`])
  })
}
