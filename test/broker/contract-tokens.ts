// The contract of a broker, continued: which tokens still count, the one session of a user, and what nodes keep for each other.
import type { Test } from 'tap'
import { Revoked, type Visit } from '../../src/broker/broker.ts'
import { identityOf, type MakeBackend, type Node, now, readerOf, refusal, request, send } from './contract.ts'

/** Logs a user out; returns the second of it. Begins early in a second, so that what follows is in the same one. */
async function logout (node: Node, userId = '1'): Promise<number> {
  let position = await now(node)
  while (position % 1_000_000 > 500_000) position = await now(node)
  await node.broker.logout(userId)
  return Math.floor(position / 1_000_000)
}

const visit = async ({ broker }: Node, iat: number, userId = '1'): Promise<Visit> => await broker.visit(identityOf(userId, iat))
const stream = (iat: number, admittedAt: number) => ({ user: identityOf('1', iat), groups: undefined, admittedAt, cursor: 'fresh' as const, maxBytes: 1 })

export function tokens (t: Test, make: MakeBackend): void {
  t.test('a visit, of a good token, is admitted with an id in the order of all', async (t) => {
    const a = await (await make(t))()
    const before = await now(a)
    const { verdict, admittedAt, counts } = await visit(a, 100)
    t.match({ verdict, counts }, { verdict: 'admitted', counts: [] })
    t.ok(admittedAt > before && admittedAt < await now(a))
  })

  t.test('a logout, with tokens of before, of its own second and of after, refuses those of before', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const second = await logout(a)
    for (const [iat, verdict] of [[0, 'revoked'], [second - 1, 'revoked'], [second, 'admitted'], [second + 1, 'admitted']] as const) {
      t.equal((await visit(b, iat)).verdict, verdict, `${iat - second} s from it`)
      const isRefused = verdict === 'revoked'
      const calls = {
        resume: () => b.broker.resume(stream(iat, Number.MAX_SAFE_INTEGER)),
        list: () => b.broker.list({ reader: readerOf('1', { issuedAtSeconds: iat }), limit: 1, unreadOnly: false }),
        position: () => b.broker.position(readerOf('1', { issuedAtSeconds: iat })),
        move: () => b.broker.moveCursor(readerOf('1', { issuedAtSeconds: iat }), 'seen', 1)
      }
      for (const [name, call] of Object.entries(calls)) t.equal(await refusal(call()) instanceof Revoked, isRefused, `${name}, ${iat - second} s from it`)
    }
    t.equal((await visit(b, 0, '2')).verdict, 'admitted', 'nobody else is meant')
    t.equal(await refusal(b.broker.position({ userId: '1' })), undefined, 'and a back end may still read')
  })

  t.test('a logout, in the second of a token that was seen, refuses it', async (t) => {
    const a = await (await make(t))()
    const second = await logout(a, 'other')
    await visit(a, second)
    await a.broker.logout('1')
    t.equal((await visit(a, second)).verdict, 'revoked')
    t.equal((await visit(a, second + 1)).verdict, 'admitted')
  })

  t.test('a logout, after a token of a clock that runs ahead, refuses it', async (t) => {
    const a = await (await make(t))()
    const ahead = Math.floor(Date.now() / 1000) + 3600
    await a.broker.resume({ ...stream(ahead, Number.MAX_SAFE_INTEGER) })
    await a.broker.logout('1')
    t.equal((await visit(a, ahead)).verdict, 'revoked')
    t.equal((await visit(a, ahead + 1)).verdict, 'admitted')
  })

  t.test('a logout, ends every stream that was let in before it, whatever its token says', async (t) => {
    const a = await (await make(t))()
    const ahead = 4_000_000_000
    const { admittedAt } = await visit(a, ahead)
    t.equal(await refusal(a.broker.resume(stream(ahead, admittedAt))), undefined)
    await a.broker.logout('1')
    t.type(await refusal(a.broker.resume(stream(ahead + 10, admittedAt))), Revoked)
    const again = await visit(a, ahead + 20)
    t.equal(await refusal(a.broker.resume(stream(ahead + 20, again.admittedAt))), undefined)
  })

  t.test('a logout, tells the user\'s streams', async (t) => {
    const a = await (await make(t))()
    await a.broker.subscribe(['user:1', 'user:2'])
    await a.broker.logout('1')
    await a.ear.id(await send(a, 'user:1', 'fence'))
    t.match(a.ear.controls, [{ userId: '1', control: 'logout', id: Number }])
  })

  t.test('a publisher, who has logged out, publishes and retracts nothing with tokens up to that second', async (t) => {
    const a = await (await make(t))()
    const id = await send(a, 'user:2', 'x', { key: 'k' })
    const second = await logout(a)
    for (const [iat, isRefused] of [[second - 1, true], [second, true], [second + 1, false]] as const) {
      const publisher = identityOf('1', iat)
      t.equal(await refusal(a.broker.publish(request('user:2', 'x', { publisher }))) instanceof Revoked, isRefused)
      t.equal(await refusal(a.broker.retract({ to: 'user:2', what: { id: id + 1 }, publisher })) instanceof Revoked, isRefused)
    }
  })

  t.test('a visit, counts on its counters, unless it is revoked', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const counters = ['ip:1', 'user:1']
    t.same((await a.broker.visit({ ...identityOf('1'), counters })).counts, [1, 1])
    t.same((await b.broker.visit({ ...identityOf('1'), counters: ['ip:1', 'user:2'] })).counts, [2, 1])
    await a.broker.logout('1')
    t.match(await b.broker.visit({ ...identityOf('1', 1), counters }), { verdict: 'revoked', counts: [0, 0], admittedAt: 0 })
    t.same((await a.broker.visit({ ...identityOf('3'), counters })).counts, [3, 2])
  })

  t.test('the session, taken by another stream, is told, verified, and closed to older cursors', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.subscribe(['user:1'])
    const first = (await a.broker.takeSession('1', 'first', 'fresh', 0))!
    t.same(await a.broker.verifySessions([{ userId: '1', session: first }]), [])
    const second = (await b.broker.takeSession('1', 'second', 'fresh', 0))!
    t.same(await a.broker.verifySessions([{ userId: '1', session: first }, { userId: '1', session: second }]), ['first'])
    t.equal(await a.broker.takeSession('1', 'third', second.fence - 1, second.fence), undefined)
    t.match(await a.broker.visit({ ...identityOf('1'), sessionCursor: second.fence - 1 }), { verdict: 'replaced' })
    t.match(await a.broker.visit({ ...identityOf('1'), sessionCursor: second.fence }), { verdict: 'admitted' })
    t.match(await a.broker.takeSession('1', 'third', second.fence, second.fence), { tag: 'third', fence: second.fence })
    await a.ear.id(await send(a, 'user:1', 'fence'))
    t.match(a.ear.controls, [{ control: 'takeover', tag: 'first' }, { control: 'takeover', tag: 'second' }, { control: 'takeover', tag: 'third' }])
  })

  t.test('the session, asked for by two streams, goes to the one that was admitted last, whichever takes it first', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const earlier = (await a.broker.visit(identityOf('1'))).admittedAt
    const later = (await b.broker.visit(identityOf('1'))).admittedAt
    const holder = (await b.broker.takeSession('1', 'later', 'fresh', later))!
    t.equal(await a.broker.takeSession('1', 'earlier', 'fresh', earlier), undefined, 'its client has often gone by now')
    t.same(await b.broker.verifySessions([{ userId: '1', session: holder }]), [], 'which also keeps when it was admitted')
    t.equal(await a.broker.takeSession('1', 'earlier', 'fresh', earlier), undefined)
    t.match(await a.broker.takeSession('1', 'again', holder.fence, earlier), { tag: 'again' }, 'a stream that resumes is the holder itself')
    t.match(await a.broker.takeSession('1', 'between', 'fresh', later + 1), { tag: 'between' }, 'a reconnect, admitted later than a new page, does not keep it away')
    const last = (await a.broker.visit(identityOf('1'))).admittedAt
    t.match(await a.broker.takeSession('1', 'last', 'fresh', last), { tag: 'last' })
  })

  t.test('the session, whose holder lowered its fence and came back: it is said so until the fence is raised', async (t) => {
    const node = await make(t)
    const { broker } = await node()
    const { admittedAt } = await broker.visit(identityOf('1'))
    const first = (await broker.takeSession('1', 'first', 'fresh', admittedAt))!
    t.match(first, { isLowered: false })
    await broker.verifySessions([{ userId: '1', session: { ...first, fence: admittedAt - 1000 } }])
    const again = (await broker.takeSession('1', 'again', admittedAt - 500, admittedAt + 1))!
    t.match(again, { isLowered: true, fence: admittedAt - 1000 })
    await broker.verifySessions([{ userId: '1', session: { ...again, fence: again.takenAt } }])
    t.equal(await broker.takeSession('1', 'replaced', admittedAt - 500, admittedAt + 2), undefined)
    t.match(await broker.takeSession('1', 'last', again.takenAt, admittedAt + 3), { isLowered: false, fence: again.takenAt })
  })

  t.test('the store, at a user\'s home, keeps, gives and takes; one caller alone takes', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const home = a.broker.homeOf('1')
    t.equal(b.broker.homeOf('1'), home)
    t.notOk(home.includes('.'), 'it can stand before a point')
    await a.broker.put(home, 'k', 'text: é😀\n', 60)
    t.equal(await b.broker.get(home, 'k'), 'text: é😀\n')
    t.equal(await b.broker.get('1', 'k'), 'text: é😀\n', 'the user\'s id names it, too')
    t.equal(await b.broker.get(home, 'other'), undefined)
    const taken = await Promise.all(Array.from({ length: 10 }, (_, i) => [a, b][i % 2]!.broker.take(home, 'k')))
    t.equal(taken.filter((text) => text !== undefined).length, 1)
    t.equal(await a.broker.get(home, 'k'), undefined)
  })

  t.test('the store, asked to exchange one for another, does both for one caller and nothing for the others', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const home = a.broker.homeOf('1')
    const exchange = async (i: number) => await [a, b][i % 2]!.broker.exchange(home, 'ticket', { key: 'pass', text: `of caller ${i}`, seconds: 60 })
    t.equal(await exchange(0), undefined)
    t.equal(await a.broker.get(home, 'pass'), undefined, 'nothing was there: nothing is kept')
    await a.broker.put(home, 'ticket', 'text: é😀\n', 60)
    const taken = await Promise.all(Array.from({ length: 10 }, (_, i) => exchange(i)))
    t.same(taken.filter((text) => text !== undefined), ['text: é😀\n'])
    t.equal(await b.broker.get(home, 'pass'), `of caller ${taken.findIndex((text) => text !== undefined)}`)
    t.equal(await a.broker.get(home, 'ticket'), undefined)
  })

  t.test('ordinals, while any of them is remembered, count on', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const home = a.broker.homeOf('1')
    t.same([await a.broker.ordinal(home, 'o', 60), await b.broker.ordinal(home, 'o', 3600), await a.broker.ordinal(home, 'o', 1)], [1, 2, 3])
    t.equal(await a.broker.ordinal(home, 'other', 1), 1)
  })

  t.test('hits, in a window, are counted over all nodes', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const home = a.broker.homeOf('1')
    t.match(await a.broker.hit(home, 'k', 60_000), { count: 1 })
    t.match(await b.broker.hit(home, 'k', 60_000, 4), { count: 5 })
    const { restMs } = await b.broker.hit(home, 'k', 60_000)
    t.ok(restMs > 0 && restMs <= 60_000)
    t.match(await b.broker.hit(home, 'other', 60_000), { count: 1 })
  })
}
