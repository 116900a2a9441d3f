// SESSION_POLICY=single: one stream a user, whoever asks and wherever; and a tab that only lost its line keeps its session.
import t from 'tap'
import type { BrokerListener } from '../../src/broker/listener.ts'
import type { Client } from '../fixtures/client.ts'
import { startRedis } from '../fixtures/redis.ts'
import { Signal } from '../fixtures/wait.ts'
import { onBoth, passOf, startNodes, type Nodes } from './nodes.ts'

const redis = await startRedis(t)
const env = { SESSION_POLICY: 'single' }

/** Ended for good as DESIGN says: the event, its id sent back, 204, and no more. */
async function assertReplaced (t: any, client: Client, message: string): Promise<void> {
  const last = await client.closed()
  t.equal(last.status, 204, `${message}: its reconnect is answered 204`)
  t.equal(last.sentLastEventId, '!replaced', `${message}: to the id of the event`)
  t.match(client.events.at(-1), { event: 'replaced', id: '!replaced', json: {} }, `${message}: the last thing it heard`)
}

/** The one tab that is left when all the others have stopped for good. */
async function lastOf (tabs: Client[]): Promise<Client> {
  const changed = new Signal()
  for (const tab of tabs) tab.onChange(() => { changed.notify() })
  return await changed.until(() => {
    const left = tabs.filter(({ state }) => state !== 'closed')
    return left.length === 1 ? left[0] : undefined
  }, { what: 'all tabs but one to stop', describe: () => tabs.map((tab) => tab.describe()).join('\n') })
}

/** The listener as a plain object, so that one of its calls can be replaced. */
function bound (listener: BrokerListener): BrokerListener {
  return {
    notification: (channel, notification) => { listener.notification(channel, notification) },
    control: (userId, control) => { listener.control(userId, control) },
    dropped: (channel, reason) => { listener.dropped(channel, reason) },
    interrupted: (isAffected, isLost) => { listener.interrupted(isAffected, isLost) },
    restored: (isAffected) => { listener.restored(isAffected) }
  }
}

/** Publishes to the user; resolves when this client has it. The number of nodes that took it. */
async function reaches ({ call }: Nodes, client: Client, userId: string): Promise<number> {
  const mark = Math.random()
  const { body } = await call('POST', '/api/notifications', { body: { to: `user:${userId}`, data: { mark } } })
  await client.next(({ json }) => json?.mark === mark)
  return body.notifications[0].receivers
}

onBoth(t, 'session, a second tab on the same node, takes over and the first stops', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env, count: 1 })
  const [first, other] = [all.client(t, { sub: 'ann' }), all.client(t, { sub: 'bob' })]
  await Promise.all([first.live(), other.live()])
  const second = all.client(t, { sub: 'ann' })
  await second.live()
  await assertReplaced(t, first, 'the first tab')
  t.equal(first.connections.length, 2, 'no loop')
  await reaches(all, second, 'ann')
  await reaches(all, other, 'bob')
  t.same([second.connections.length, other.connections.length], [1, 1], 'another user is left alone')
})

onBoth(t, 'session, a second tab on another node, takes over and the first stops', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  const first = all.client(t, { sub: 'ann' }, { node: 0 })
  await first.live()
  const second = all.client(t, { sub: 'ann' }, { node: 1 })
  await second.live()
  await assertReplaced(t, first, 'the first tab')
  await reaches(all, second, 'ann')
  t.equal(all.nodes[0]!.app.hub.streams, 0, 'nothing is left on its node')
  t.match(all.nodes[0]!.lines.join(''), /"reason":"replaced"/, 'the log says why')
})

onBoth(t, '"use here", clicked to and fro, gives the session to the page that asks', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  let holder = all.client(t, { sub: 'ann' }, { name: 'tab 0' })
  await holder.live()
  for (let click = 1; click <= 6; click++) {
    const next = all.client(t, { sub: 'ann' }, { node: click % 2, name: `tab ${click}` })
    t.equal((await next.live()).json.resume, 'fresh')
    await assertReplaced(t, holder, holder.name)
    holder = next
  }
  await reaches(all, holder, 'ann')
  t.equal(holder.connections.length, 1)
})

onBoth(t, 'session, two tabs in the same millisecond on two nodes, end with exactly one', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  for (let round = 0; round < 15; round++) {
    const sub = `twin-${round}`
    const tabs = [0, 1].map((node) => all.client(t, { sub }, { node }))
    const winner = await lastOf(tabs)
    await winner.live()
    t.equal(tabs.find((tab) => tab !== winner)!.connection.status, 204)
    await reaches(all, winner, sub)
    t.same([winner.state, winner.connections.length], ['open', 1], `round ${round}: one stays, at its first connection`)
    for (const tab of tabs) tab.close()
  }
})

onBoth(t, 'session, ten tabs at once on two nodes, end with exactly one', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  const tabs = Array.from({ length: 10 }, (_, i) => all.client(t, { sub: 'crowd' }, { node: i % 2 }))
  const winner = await lastOf(tabs)
  await winner.live()
  await reaches(all, winner, 'crowd')
  t.equal(tabs.filter(({ state }) => state !== 'closed').length, 1)
  t.ok(tabs.every(({ connections }) => connections.length <= 2), 'no loop')
})

onBoth(t, 'session, the holder that loses its line again and again, is not replaced by itself', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  const urls = all.nodes.map(({ url }) => url)
  const tab = all.client(t, { sub: 'ann' }, { url: (attempt: number) => urls[attempt % 2]! })
  await tab.live()
  for (let blip = 1; blip <= 12; blip++) {
    if (blip % 3 === 0) await reaches(all, tab, 'ann')
    tab.drop({ reset: blip % 2 === 0 })
    t.equal((await tab.live(blip + 1)).json.resume, 'complete', `blip ${blip}`)
  }
  t.notOk(tab.events.some(({ event }) => event === 'replaced'))
  t.equal(tab.connections.length, 13)
})

onBoth(t, 'session, the holder back while its old line still seems alive, goes on and the old line ends', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  const old = all.client(t, { sub: 'ann' }, { reconnect: false })
  const { id } = await old.live()
  const again = all.client(t, { sub: 'ann' }, { node: 1, lastEventId: id! })
  t.equal((await again.live()).json.resume, 'complete')
  await old.closed()
  await reaches(all, again, 'ann')
  again.drop()
  t.equal((await again.live(2)).json.resume, 'complete', 'its next blip is its own too')
})

onBoth(t, 'session, the holder that loses its line again before its sync, is still the holder', async (t, kind) => {
  const claimed = Promise.withResolvers<void>()
  const all = await startNodes(t, kind, redis, {
    env,
    // The first node claims and then gets no further.
    alter: (broker, node) => {
      const { resume } = broker
      if (node === 0) broker.resume = async (query) => query.user.userId === 'ann' ? (claimed.resolve(), await new Promise(() => {})) : await resume.call(broker, query)
    }
  })
  const tab = all.client(t, { sub: 'ann' }, { node: 1, reconnect: false })
  const { id } = await tab.live()
  tab.close()
  const unlucky = all.client(t, { sub: 'ann' }, { node: 0, lastEventId: id!, reconnect: false })
  await claimed.promise
  unlucky.close()
  const again = all.client(t, { sub: 'ann' }, { node: 1, lastEventId: id! })
  t.equal((await again.live()).json.resume, 'complete')
  await reaches(all, again, 'ann')
})

onBoth(t, 'session, taken from a tab that is still being filled, leaves that tab without an id above the new fence', async (t, kind) => {
  const claimed = Promise.withResolvers<void>()
  const taken = Promise.withResolvers<void>()
  const all = await startNodes(t, kind, redis, {
    env,
    // The first node reads the logs late, and never hears of the takeover.
    alter: (broker, node) => {
      if (node !== 0) return
      const { resume, start } = broker
      broker.resume = async (query) => {
        claimed.resolve()
        await taken.promise
        return await resume.call(broker, query)
      }
      broker.start = (listener) => {
        start.call(broker, { ...bound(listener), control: () => {} })
      }
    }
  })
  const older = all.client(t, { sub: 'ann' })
  await claimed.promise
  const newer = all.client(t, { sub: 'ann' }, { node: 1 })
  await newer.live()
  taken.resolve()
  await assertReplaced(t, older, 'the older tab')
  t.same(older.events.map(({ event }) => event), ['replaced'], 'no sync, whose id would be the holder\'s')
  await reaches(all, newer, 'ann')
})

onBoth(t, 'session, taken from a live tab, gives that tab nothing that is published afterwards', async (t, kind) => {
  const heard = Promise.withResolvers<void>()
  const all = await startNodes(t, kind, redis, {
    env,
    alter: (broker, node) => {
      const { verifySessions } = broker
      if (node === 0) {
        broker.verifySessions = async (sessions) => {
          if (sessions.some(({ userId }) => userId === 'ann') && isLive) await heard.promise
          return await verifySessions.call(broker, sessions)
        }
      }
    }
  })
  let isLive = false
  const [older, witness] = [all.client(t, { sub: 'ann' }), all.client(t, { sub: 'bob' })]
  await Promise.all([older.live(), witness.live()])
  isLive = true
  const newer = all.client(t, { sub: 'ann' }, { node: 1 })
  await newer.live()
  await all.call('POST', '/api/notifications', { body: { to: 'all', data: 'after the takeover' } })
  await Promise.all([newer.next(({ data }) => data.includes('after')), witness.next(({ data }) => data.includes('after'))])
  heard.resolve()
  await assertReplaced(t, older, 'the older tab')
  t.same(older.notifications, [])
})

onBoth(t, 'session, a tab that was replaced while it was away, is told 204 and disturbs nobody', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  const away = all.client(t, { sub: 'ann' }, { reconnect: false })
  const { id } = await away.live()
  away.close()
  const holder = all.client(t, { sub: 'ann' }, { node: 1 })
  await holder.live()
  for (const node of [0, 1]) {
    const back = all.client(t, { sub: 'ann' }, { node, lastEventId: id! })
    t.equal((await back.closed()).status, 204)
    t.equal(back.connections.length, 1)
  }
  await reaches(all, holder, 'ann')
  t.equal(holder.connections.length, 1)
  const fresh = all.client(t, { sub: 'ann' })
  await fresh.live()
  await assertReplaced(t, holder, 'a fresh page takes over; the holder')
})

onBoth(t, 'session, a position that cannot be right, makes a page a fresh one and no more', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  for (const lastEventId of ['9007199254740991', '99999999999999999999', 'x', '-1', '0', '!', '!replaced', '!closed']) {
    const holder = all.client(t, { sub: 'ann' })
    await holder.live()
    const odd = all.client(t, { sub: 'ann' }, { node: 1, lastEventId })
    if (lastEventId.startsWith('!')) {
      t.equal((await odd.closed()).status, 204, `${lastEventId}: stops`)
      await reaches(all, holder, 'ann')
    } else {
      t.equal((await odd.live()).json.resume, 'incomplete', lastEventId)
      await assertReplaced(t, holder, `${lastEventId}: the holder`)
    }
    for (const tab of [holder, odd]) tab.close()
  }
})

onBoth(t, 'session, of one user, cannot be claimed or ended by another', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  const holder = all.client(t, { sub: 'ann' })
  await holder.live()
  for (const sub of ['an', 'ann2', 'Ann', 'ann ', 'ann:', '*']) await all.client(t, { sub }, { node: 1 }).live()
  const { status } = await all.call('GET', '/api/notifications/subscribe/ann', { token: all.token({ sub: 'bob' }) })
  t.equal(status, 403)
  await reaches(all, holder, 'ann')
  t.equal(holder.connections.length, 1)
})

onBoth(t, 'session, a page that the browser renders in advance, takes it only when it is shown', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  const holder = all.client(t, { sub: 'ann' })
  await holder.live()
  const headers: Record<string, string> = { 'Sec-Purpose': 'prefetch;prerender' }
  const page = all.client(t, { sub: 'ann' }, { node: 1, headers, retryCapMs: 50 })
  await page.until(() => page.connections.length >= 3 || undefined, 'a third attempt')
  t.match(page.connections[0], { status: 200, body: /^retry: 2000\nevent: ping\ndata: \{\}\n\n$/ })
  await reaches(all, holder, 'ann')
  t.equal(holder.connections.length, 1, 'not replaced')
  delete headers['Sec-Purpose']
  await page.live()
  await assertReplaced(t, holder, 'shown: the holder')
})

onBoth(t, 'session, a page with a ticket that is rendered in advance, takes it when it is shown, also after the end of the ticket', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env })
  const ticket = await all.ticket({ sub: 'ann' })
  const open = (headers: Record<string, string>) => all.bare(t, { query: { ticket }, headers, reconnect: false })
  const hidden = open({ 'Sec-Purpose': 'prefetch;prerender' })
  t.match(await hidden.opened(), { status: 200, headers: { 'content-length': /./ } })
  const { name, value } = passOf(hidden)
  t.equal((await open({}).opened()).status, 401, 'spent')
  await open({ cookie: `${name}=${value}` }).live()
  const other = all.bare(t, { query: { ticket: await all.ticket({ sub: 'ann' }) }, headers: { 'Sec-Purpose': 'prefetch;prerender', cookie: `${name}=${value}` }, reconnect: false })
  t.notOk((await other.opened()).headers['set-cookie'], 'the page that is shown needs its pass')
})

onBoth(t, 'session policy, not set, lets a user have several streams', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const tabs = [0, 1, 0].map((node) => all.client(t, { sub: 'ann' }, { node }))
  await Promise.all(tabs.map((tab) => tab.live()))
  for (const tab of tabs) await reaches(all, tab, 'ann')
  t.ok(tabs.every(({ connections }) => connections.length === 1))
})
