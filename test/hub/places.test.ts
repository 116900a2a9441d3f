// Room for one more stream: the limits hold whatever comes at once, lost lines shut nobody out, and pages do not chase each other.
import t from 'tap'
import { Places } from '../../src/hub/places.ts'
import type { Stream } from '../../src/hub/stream.ts'
import { type Line, type Rig, startHub, stopTime, turn } from './rig.ts'

/** Opens a stream as a browser's reconnect does, from a position. */
const reconnect = (rig: Rig, from: number | string): Line => rig.open({ lastEventId: String(from) })
/** Opens a page. */
const page = (rig: Rig): Line => rig.open({ reconnectsFrom: 'fresh' })

t.test('streams, that ask in the same moment, are let in up to the limit of a user and of the node, and no further', async (t) => {
  for (const [limits, refused, room] of [
    [{ maxStreamsPerUser: 5 }, { refused: 'too many' }, 5], [{ maxStreams: 7 }, { refused: 'for now', retryMs: Number }, 7]
  ] as const) {
    const rig = await startHub(t, limits)
    const lines = Array.from({ length: 50 }, () => page(rig))
    const outcomes = await Promise.all(lines.map(async ({ opened, refused }) => await Promise.race([opened.then(() => 'opened' as const), refused])))
    t.equal(outcomes.filter((outcome) => outcome === 'opened').length, room)
    for (const outcome of outcomes) if (outcome !== 'opened') t.match(outcome, refused)
    t.equal(rig.hub.streams, room)
  }
})

t.test('one page, whose line is lost again and again without a word, always comes back in', async (t) => {
  const rig = await startHub(t, { maxStreamsPerUser: 5 })
  let { client, stream } = await rig.live({ reconnectsFrom: 'fresh' })
  for (let i = 0; i < 30; i++) {
    // Its streams stay: nobody tells the node that the line is lost.
    const line = reconnect(rig, stream.cursor)
    const opened = await Promise.race([line.opened, line.refused])
    t.ok('stream' in opened, `after ${i + 1} lost lines`)
    await line.client.live()
    ;({ client, stream } = { client: line.client, stream: (await line.opened).stream })
  }
  t.equal(rig.ends.filter((reason) => reason === 'displaced').length, 26)
  t.equal(client.state, 'open')
  t.same(await page(rig).refused, { refused: 'too many' }, 'a page that is opened is refused all the same')
})

t.test('one page, whose line is lost again before its sync, takes the place of its own last stream', async (t) => {
  const rig = await startHub(t, { maxStreamsPerUser: 3 })
  const others = [await rig.live(), await rig.live()]
  const { stream } = await rig.live()
  let last = stream
  for (let i = 0; i < 5; i++) {
    const { client, opened } = reconnect(rig, stream.cursor)
    await client.live() // the node has written it, and who knows whether it arrives
    t.ok(last.hasEnded)
    last = (await opened).stream
  }
  for (const { stream } of others) t.notOk(stream.hasEnded)
})

t.test('pages, one more than there are places, do not chase each other: the last asks less and less often, until one is free', async (t) => {
  const rig = await startHub(t, { maxStreamsPerUser: 3, retryMs: 1000 })
  const pages = []
  for (let i = 0; i < 3; i++) pages.push(await rig.live({ reconnectsFrom: 'fresh' }))
  // A fourth, from a node that is gone.
  const fourth = reconnect(rig, pages[0]!.stream.cursor - 1)
  await fourth.client.live()
  t.match(await pages[0]!.client.ended(), { ending: 'end', retries: [1000, Number] })
  t.same(rig.ends, ['displaced'])
  // The page whose stream that was is alive, as it shows by coming back.
  const waits: number[] = []
  for (let i = 0; i < 10; i++) {
    const answer = await reconnect(rig, pages[0]!.client.lastEventId).refused
    t.equal(answer.refused, 'for now')
    waits.push((answer as { retryMs: number }).retryMs)
  }
  t.ok(waits[0]! <= 3000 && waits.at(-1)! <= 60_000 && waits.at(-1)! > 10_000, waits.join())
  t.same(rig.ends, ['displaced'], 'nobody was displaced for it')
  pages[1]!.client.close()
  await rig.ended(2)
  const back = reconnect(rig, pages[0]!.client.lastEventId)
  await back.client.live()
})

t.test('clients, that come back from positions of their own choice, displace a bounded number of streams', async (t) => {
  const time = stopTime(t)
  const rig = await startHub(t, { clock: time.clock, maxStreamsPerUser: 3 })
  for (let i = 0; i < 3; i++) await rig.live({ reconnectsFrom: 'fresh' })
  const outcome = async (i: number): Promise<string> => {
    const { opened, refused, client } = reconnect(rig, i + 1)
    const one = await Promise.race([opened, refused])
    if ('refused' in one) return one.refused
    await client.live()
    return 'opened'
  }
  const outcomes = []
  for (let i = 0; i < 120; i++) outcomes.push(await outcome(i))
  t.equal(outcomes.filter((one) => one === 'opened').length, 100)
  t.equal(outcomes.at(-1), 'for now')
  time.seconds(601)
  t.equal(await outcome(1000), 'opened', 'and again after ten minutes')
})

t.test('reconnect, with several streams to choose from, takes the place of the one whose client has most likely gone', async (t) => {
  const rig = await startHub(t, { maxStreamsPerUser: 3, bufferBytes: 100_000_000 })
  const [older, stalled] = [await rig.live(), await rig.live()]
  stalled.client.pause()
  while (stalled.stream.unsent === 0) {
    await rig.publish('user:1', 'x'.repeat(60_000))
    await turn()
  }
  const mine = await rig.live()
  await reconnect(rig, mine.stream.cursor - 1).client.live()
  t.same([older, mine, stalled].map(({ stream }) => stream.hasEnded), [false, false, true], 'what a client has not taken waits')
  await reconnect(rig, mine.stream.cursor).client.live()
  t.same([older, mine].map(({ stream }) => stream.hasEnded), [false, true], 'that of this client ended where it stands')
})

t.test('reconnect, while the others still open, takes nobody\'s place: a client without an id could not come back', async (t) => {
  const rig = await startHub(t, { maxStreamsPerUser: 2 })
  const gate = Promise.withResolvers<void>()
  rig.broker.before.resume = async () => { await gate.promise }
  const opening = [page(rig), page(rig)]
  await Promise.all(opening.map(async ({ opened }) => await opened))
  t.match(await reconnect(rig, 7).refused, { refused: 'for now', retryMs: Number })
  gate.resolve()
  for (const { client } of opening) await client.live()
})

/** The only place of each user, and a clock. `comes`: whether a client that comes back from there gets the place of the stream at `lastId`. */
function onlyPlace (retryMs = 1000) {
  const time = { minutes: 0 }
  const places = new Places({ maxStreams: 0, maxStreamsPerUser: 1, retryMs: () => retryMs, nowMs: () => time.minutes * 60_000 })
  const find = (userId: string, from: number, lastId: number) => {
    const stream = { lastId, hasEnded: false, unsent: 0, openedAtMs: 0, owner: { reconnectsFrom: 'fresh' } } as unknown as Stream
    return places.find({ userId, issuedAtSeconds: 0, expiresAtSeconds: 0, groups: undefined, admittedAt: 0, reconnectsFrom: from }, 1, new Set([stream]))
  }
  return { time, places, find, comes: (userId: string, from: number, lastId: number) => find(userId, from, lastId).room }
}

t.test('reconnect, with none of the streams that it may have had but one that was sent nothing newer: takes that one\'s place', (t) => {
  const places = new Places({ maxStreams: 0, maxStreamsPerUser: 2, retryMs: () => 1000, nowMs: () => 0 })
  const at = (lastId: number, openedAtMs: number) => ({ lastId, hasEnded: false, unsent: 0, openedAtMs, owner: { reconnectsFrom: 'fresh' } }) as unknown as Stream
  const [newer, older] = [at(12, 0), at(8, 1)]
  const owner = { userId: 'ann', issuedAtSeconds: 0, expiresAtSeconds: 0, groups: undefined, admittedAt: 0, reconnectsFrom: 10 }
  for (const streams of [[newer, older], [older, newer]]) {
    t.strictSame(places.find({ ...owner, userId: String(streams.indexOf(newer)) }, 2, new Set(streams as Stream[])), { room: true, instead: older })
  }
  t.end()
})

t.test('users whose streams were displaced, are forgotten in the order in which they were last seen', (t) => {
  const { time, places, comes } = onlyPlace()
  for (const user of ['ann', 'bob']) t.ok(comes(user, 5, 10))
  time.minutes = 9
  t.notOk(comes('ann', 10, 20), 'whose stream was displaced displaces nobody')
  time.minutes = 11
  places.sweep()
  t.ok(comes('bob', 10, 20), 'nothing is known of it any more')
  t.notOk(comes('ann', 10, 20))
  t.end()
})

t.test('users whose streams were displaced, too many to remember: the one of longest ago is forgotten', (t) => {
  const { comes } = onlyPlace()
  for (let i = 0; i <= 10_000; i++) comes(`user ${i}`, 5, 10)
  t.ok(comes('user 0', 10, 20), 'nothing is known of it any more')
  t.notOk(comes('user 10000', 10, 20), 'whose stream was displaced displaces nobody')
  t.end()
})

t.test('displaced streams of a user who comes back over and over: the last hundred are remembered', (t) => {
  const { time, comes } = onlyPlace()
  for (let cursor = 1000; cursor <= 1100; time.minutes += 2, cursor++) t.ok(comes('ann', 5, cursor))
  t.notOk(comes('ann', 1001, 2000))
  t.ok(comes('ann', 1000, 2000))
  t.end()
})

t.test('a client without a place, where RETRY_MS is longer than a minute: waits no less than that', (t) => {
  const { find } = onlyPlace(90_000)
  find('ann', 5, 10)
  for (let n = 0; n < 3; n++) t.match(find('ann', 10, 20), { room: false, retryMs: 90_000 })
  t.end()
})

t.test('pages, one more than there are places, know each other by the last id that they were sent, also after a join, which sends none', async (t) => {
  const rig = await startHub(t, { maxStreamsPerUser: 3 })
  const { client: { lastEventId: before } } = await rig.live({ userId: 'somebody else' })
  const pages = []
  for (let i = 0; i < 3; i++) pages.push(await rig.live({ reconnectsFrom: 'fresh' }))
  for (const group of ['a', 'b']) {
    await rig.other.join('1', group)
    await Promise.all(pages.map(async ({ stream }) => {
      while (!stream.channels.some(({ name }) => name === `group:${group}`) || stream.isHeld) await turn()
    }))
  }
  const [older, mine] = [pages[0]!, pages[2]!]
  // A line of this page is lost without a word.
  await reconnect(rig, mine.client.lastEventId!).client.live()
  t.same(pages.map(({ stream }) => stream.hasEnded), [false, false, true], 'its own stream makes place')
  await reconnect(rig, before!).client.live()
  t.ok(older.stream.hasEnded)
  t.match(await reconnect(rig, older.client.lastEventId!).refused, { refused: 'for now' }, 'it was alive, and displaces nobody')
  t.same(rig.ends, ['displaced', 'displaced'])
})

t.test('a page, while the last bytes of another one of the user are being sent, has a place', async (t) => {
  const places = new Places({ maxStreams: 0, maxStreamsPerUser: 2, retryMs: () => 1, nowMs: () => 0 })
  const streams = [{ hasEnded: true }, { hasEnded: false }] as Stream[]
  const owner = { userId: '1', reconnectsFrom: 'fresh' } as Stream['owner']
  t.same(places.find(owner, 2, new Set(streams)), { room: true })
  t.same(places.find(owner, 3, new Set([...streams, { hasEnded: false } as Stream])), { room: false })
})
