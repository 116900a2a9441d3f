// What comes by the thousand costs Redis few commands, and the node few writes: counted by Redis itself, and on the node's own sockets.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { TooManyMarks } from '../../src/broker/inbox.ts'
import type { Address } from '../../src/notification.ts'
import { callsOf, startRedis } from '../fixtures/redis.ts'
import { listOf, now, readPages, refusal, request, send } from './contract.ts'
import { becomes, type RedisNode, startRedisNode, up } from './nodes.ts'

// Its own: Redis counts the commands of everybody.
const redis = await startRedis(t, { own: true })
let count = 0

/** What the canary and the look at Redis's settings may add to a count, once a second while a test counts. */
const CANARY = 6

interface CountedNode extends RedisNode {
  /** How often it has written to Redis: each is a system call of the node, and the bytes of all commands in it leave together. */
  readonly writes: () => number
}

async function start (t: Test): Promise<CountedNode> {
  let writes = 0
  const watch = (message: unknown): void => {
    const { socket } = message as { socket: Socket }
    // What a stream calls to hand on its bytes: one piece, or what was written while it was corked.
    const { _write, _writev } = socket
    socket._write = function (this: Socket, ...args: Parameters<typeof _write>) {
      writes++
      _write.apply(this, args)
    }
    socket._writev = function (this: Socket, ...args: Parameters<NonNullable<typeof _writev>>) {
      writes++
      _writev!.apply(this, args)
    }
  }
  subscribe('net.client.socket', watch)
  const node = startRedisNode(t, redis, {}, `${redis.prefix}:${++count}`)
  await up(node)
  unsubscribe('net.client.socket', watch)
  return { ...node, writes: () => writes }
}

interface Cost {
  calls: number
  writes: number
  /** As many of either may be the canary's, which beats on while a busy machine is slow. */
  canary: number
}

/** How many of these commands Redis ran, and how often the node wrote, while `act` was done. */
async function costOf (node: CountedNode, command: string, act: () => Promise<unknown>): Promise<Cost> {
  const begunMs = performance.now()
  const before = { calls: await callsOf(redis, command), writes: node.writes() }
  await act()
  const writes = node.writes() - before.writes
  const calls = await callsOf(redis, command) - before.calls
  return { calls, writes, canary: CANARY * Math.ceil((performance.now() - begunMs) / 1000) }
}

/** Assertion: the number that is needed, and no more than the canary beside it. */
function costs (t: Test, { canary, ...counts }: Cost, kind: 'calls' | 'writes', needed: number, what: string): void {
  const found = counts[kind]
  t.ok(found >= needed && found <= needed + canary, `${needed} ${what}, and at most ${canary} of the canary; found ${found}`)
}

const addresses = (count: number): Address[] => Array.from({ length: count }, (_, i): Address => i % 2 === 0 ? `user:${i}` : `group:${i}`)

t.test('commands, of one moment, go to Redis in one write', async (t) => {
  const node = await start(t)
  const { broker } = node
  await broker.put('u', 'ticket', 'text', 60)
  const keys = Array.from({ length: 100 }, (_, i) => `key ${i}`)
  const ask = async (): Promise<void> => {
    const answers = await Promise.all(keys.flatMap((key) => [broker.hit('u', key, 60_000), broker.get('u', 'ticket'), broker.presence(key), broker.groups(key)] as Array<Promise<unknown>>))
    t.same(answers.slice(-4), [{ count: 1, restMs: (answers.at(-4) as { restMs: number }).restMs }, 'text', 0, new Map()], 'each has its answer')
  }
  const cost = await costOf(node, 'fcall', ask)
  costs(t, cost, 'calls', 200, 'calls')
  costs(t, cost, 'writes', 1, 'write for all 400 commands')
})

for (const [how, rest] of Object.entries({ 'without an idempotency key': {}, 'with an idempotency key': { idempotencyKey: 'k' } })) {
  t.test(`publish, to 1,000 addresses ${how}, is one call and one write`, async (t) => {
    const node = await start(t)
    const to = addresses(1000)
    const cost = await costOf(node, 'fcall', async () => {
      const { notifications } = await node.broker.publish(request(to, 'x', rest))
      t.same(notifications.map(({ to }) => to), to, 'each address has its answer')
    })
    costs(t, cost, 'calls', 1, 'call')
    costs(t, cost, 'writes', 1, 'write')
  })
}

t.test('publishes, of one moment, share calls: 64 in each', async (t) => {
  const node = await start(t)
  const cost = await costOf(node, 'fcall', async () => {
    const answers = await Promise.all(addresses(640).map((address) => node.broker.publish(request(address))))
    t.same(answers.map(({ notifications }) => notifications.map(({ to }) => to)), addresses(640).map((address) => [address]), 'each has its own answer')
  })
  costs(t, cost, 'calls', 10, 'calls for 640 publishes')
  t.ok(cost.writes <= 10 + cost.canary, `${cost.writes} writes`)
})

t.test('subscribe, to 1,000 channels at once and again on a new connection, is a SUBSCRIBE for each 500', async (t) => {
  const node = await start(t)
  const { broker, ear } = node
  const to = addresses(1000)
  const first = await costOf(node, 'subscribe', async () => { await broker.subscribe(to) })
  t.equal(first.calls, 2, 'SUBSCRIBEs')
  costs(t, first, 'writes', 2, 'writes')
  const again = await costOf(node, 'subscribe', async () => {
    await redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await ear.until(() => ear.lines.at(-1) === 'restored' || undefined, 'the line to be heard again')
  })
  t.equal(again.calls, 3, 'SUBSCRIBEs on the new connection, one of them for the canary')
  await ear.id(await send(node, to[999]!))
  t.equal(Number((await redis.cli('PUBSUB', 'NUMSUB', `${redis.prefix}:${count}:${to[0]!}`) as unknown[])[1]), 1, 'and all of them are heard')
})

t.test('subscribe, given up while it waits for another, leaves nothing subscribed', async (t) => {
  const node = await start(t)
  const { broker } = node
  const first = broker.subscribe(['user:first'])
  // The call of the first is under way from here on.
  await new Promise((resolve) => { setImmediate(() => { setImmediate(resolve) }) })
  const second = broker.subscribe(['user:kept', 'user:given up'])
  broker.unsubscribe(['user:given up'])
  await Promise.all([first, second])
  const heard = (await redis.cli('PUBSUB', 'CHANNELS', `${redis.prefix}:${count}:user:*`) as string[]).map((channel) => channel.split(':').at(-1))
  t.same(heard.sort(), ['first', 'kept'])
})

for (const leaves of [true, false]) {
  t.test(`resume, of somebody ${leaves ? 'who left' : 'in'} a group where thousands have expired, takes them out in several calls, once and for all`, async (t) => {
    const node = startRedisNode(t, redis, { historyLength: 10_000, groupHistoryLength: 10_000 }, `${redis.prefix}:${++count}`)
    await up(node)
    await node.broker.join('1', 'a')
    const cursor = await now(node, '1')
    await Promise.all(Array.from({ length: 5000 }, async (_, i) => await send(node, 'group:a', i, { ttlSeconds: 1 })))
    const last = await send(node, 'group:a', 'last', { ttlSeconds: 1 })
    if (leaves) await node.broker.leave('1', 'a')
    await becomes(async () => await now(node, '1') >= last + 1_000_000, 'a second of the broker\'s clock')
    const pages = await readPages(node, { cursor })
    t.ok(pages.length > 2 && pages.every(({ gap, entries }) => !gap && entries.length === 0), `nothing is missing, in ${pages.length} pages`)
    t.match(await readPages(node, { cursor }), { length: 1, 0: { gap: false } })
  })
}

t.test('resume, of 50 users who joined a group one after another and missed nothing, looks at each of their logs and reads the shared ones a few times', async (t) => {
  const node = await start(t)
  const users = Array.from({ length: 50 }, (_, i) => String(i))
  for (const user of users) await node.broker.join(user, 'a')
  await send(node, 'group:a')
  const cursors = await Promise.all(users.map(async (user) => await now(node, user)))
  const comeBack = async (): Promise<void> => {
    const pages = await Promise.all(users.toReversed().map(async (user) => await readPages(node, { userId: user, cursor: cursors.at(-1)! })))
    t.ok(pages.flat().every(({ gap, entries }) => !gap && entries.length === 0), 'nobody missed anything')
  }
  const commands = ['xrange', 'xrevrange', 'exists']
  const before = await Promise.all(commands.map(async (name) => await callsOf(redis, name)))
  await comeBack()
  const [forwards, backwards, looks] = await Promise.all(commands.map(async (name, i) => await callsOf(redis, name) - before[i]!))
  // The gathering of 50 may need a few calls, and each reads the two shared logs.
  t.ok(forwards! <= 20 && backwards! <= 20 && looks! >= 50 && looks! <= 60, `${forwards} and ${backwards} reads forwards and backwards, ${looks} looks`)
})

t.test('a notification to several groups of a user in 300, marked unread, is looked for where it came by; one that is gone, in so many logs', async (t) => {
  const node = await start(t)
  const { broker } = node
  const groups = Array.from({ length: 300 }, (_, i) => `group ${1000 + i}`)
  await broker.replaceGroups('1', groups)
  const to: Address[] = ['group:group 1298', 'group:group 1299']
  const ids: number[] = []
  for (let sent = 0; sent < 120; sent++) ids.push(await send(node, to))
  const reader = { userId: '1' }
  await broker.moveCursor(reader, 'read', ids.at(-1)!)
  const looks = async (act: () => Promise<unknown>): Promise<number> => {
    const before = await callsOf(redis, 'xrange')
    await act()
    return await callsOf(redis, 'xrange') - before
  }
  const marking = await looks(async () => { for (const id of ids) await broker.mark(reader, id, 'unread') })
  t.ok(marking < 120 * 500, `${marking} in 120 times marked: the one that is marked is looked for in each log`)
  const counting = await looks(async () => { t.match(await broker.position(reader), { unread: 100 }) })
  t.ok(counting < 200, `${counting} to count`)

  for (const address of to) await redis.cli('DEL', `${redis.prefix}:${count}:log:${address}`)
  const first = await looks(async () => { t.match(await broker.position(reader), { unread: 0 }) })
  t.ok(first < 4096 + 300, `${first} to find out that some are gone`)
  for (let left = 12; left > 0; left--) await broker.position(reader)
  const last = await looks(async () => { await broker.position(reader) })
  t.ok(last < 20, `${last} when all are known to be gone`)
})

t.test('marks of a user in 300 groups, at their limit and all gone, make room with few looks', async (t) => {
  const node = await start(t)
  const groups = Array.from({ length: 300 }, (_, i) => `group ${i}`)
  await node.broker.replaceGroups('1', groups)
  const id = await send(node, 'user:1')
  const marks = Array.from({ length: 1000 }, (_, i) => [id - 1 - i, `d group:group ${i % 300}`])
  await redis.cli('HSET', `${redis.prefix}:${count}:inbox:1`, ...marks.flat())
  const before = await callsOf(redis, 'xrange')
  await node.broker.mark({ userId: '1' }, id, 'dismissed')
  const looks = await callsOf(redis, 'xrange') - before
  t.ok(looks < 200, `${looks} looks`)
})

t.test('copies of what was missed in a group that was left are looked for in 300 others, but not of all: then something may be missing', async (t) => {
  const node = await start(t)
  const groups = Array.from({ length: 300 }, (_, i) => `group ${i}`)
  await node.broker.replaceGroups('1', ['left', ...groups])
  const cursor = await now(node, '1')
  const ids: number[] = []
  for (let sent = 0; sent < 60; sent++) ids.push(await send(node, ['group:left', 'group:group 7']))
  await node.broker.leave('1', 'left')
  t.match(await readPages(node, { cursor: ids.at(-3)! }), [{ gap: false, entries: { length: 2 } }], 'all of few')
  const before = await callsOf(redis, 'xrange')
  const [page, ...more] = await readPages(node, { cursor })
  const looks = await callsOf(redis, 'xrange') - before
  t.match([page, more], [{ entries: { length: 60 } }, []])
  t.ok(looks < 1024 + 2 * 300 + 60, `${looks} looks`)
})

t.test('marks of a user in a thousand groups, more than are looked for in one call, stay: unread ones count again, dismissed ones do not come back', async (t) => {
  const node = await start(t)
  const { broker } = node
  const reader = { userId: '1' }
  const groups = Array.from({ length: 998 }, (_, i) => `group ${i}`)
  await broker.replaceGroups('1', ['a', 'z', ...groups])
  const ids: number[] = []
  for (let sent = 0; sent < 8; sent++) ids.push(await send(node, ['group:a', 'group:z']))
  await broker.moveCursor(reader, 'read', ids.at(-1)!)
  for (const id of ids) await broker.mark(reader, id, 'unread')
  for (const id of ids) await broker.retract({ to: 'group:a', what: { id } })
  const { unread } = await broker.position(reader)
  t.ok(unread > 0 && unread < 8, `${unread} of 8`)
  await broker.replaceGroups('1', ['z'])
  t.match(await broker.position(reader), { unread: 8 })

  await broker.replaceGroups('2', ['a', 'z', ...groups])
  const many = await Promise.all(Array.from({ length: 1000 }, (_, i) => send(node, 'group:z', i)))
  await redis.cli('HSET', `${redis.prefix}:${count}:inbox:2`, ...many.flatMap((id) => [id, 'd+group:a']))
  const own = await send(node, 'user:2')
  t.ok(await refusal(broker.mark({ userId: '2' }, own, 'read')) instanceof TooManyMarks, 'none of them makes room')
  t.match(await listOf(node, '2'), { notifications: [{ id: own }], unread: 1 })
})

t.test('notes of notifications with a ttl go with them when their log is trimmed', async (t) => {
  const prefix = `${redis.prefix}:${++count}`
  const node = startRedisNode(t, redis, { historyLength: 10 }, prefix)
  await up(node)
  for (let sent = 0; sent < 400; sent++) await send(node, 'user:1', sent, { ttlSeconds: 3600 })
  const [entries, notes] = await Promise.all(['XLEN log', 'ZCARD keys'].map(async (asked) => {
    const [command, kind] = asked.split(' ') as [string, string]
    return Number(await redis.cli(command, `${prefix}:${kind}:user:1`))
  }))
  t.ok(entries! < 110 && notes! <= 2 * entries!, `${entries} entries, ${notes} notes`)
})
