// The judge of npm run chaos, on accounts that are made up: it finds each fault that it is there to find, and excuses what is told.
import t from 'tap'
import { Division } from '../../chaos/division.ts'
import { Ledger, type Sync, type Told } from '../../chaos/ledger.ts'
import { judge, type Judged, mustBeZero } from '../../chaos/verdict.ts'

/** A ledger with notifications `to` these, acknowledged with these ids. */
function ledgerOf (...sent: Array<{ to: string[], ids: number[] }>): Ledger {
  const ledger = new Ledger()
  for (const { to, ids } of sent) ledger.acknowledged(ledger.publishes(to), ids)
  return ledger
}

type Event = { told: number, mark: number } | { sync: number, resume: Sync['resume'], replayed?: number, newest?: number }

/** A client of user "u" in the group "g", and what it was told on each connection. */
function client (...connections: Event[][]): Judged {
  const told: Told[] = []
  const syncs: Sync[] = []
  connections.forEach((events, at) => {
    for (const event of events) {
      const connection = at + 1
      if ('told' in event) told.push({ id: event.told, mark: event.mark, connection, event: 'message' })
      else syncs.push({ id: event.sync, atMs: event.sync, resume: event.resume, replayed: event.replayed ?? 0, connection, toldBefore: told.length, ...(event.newest !== undefined && { newest: event.newest }) })
    }
  })
  return { options: { name: 'client', userId: 'u', groups: ['g'] }, told, syncs, closedBy: undefined }
}

const fresh: Event = { sync: 10, resume: 'fresh' }
/** What of that which must be 0 is not, and what else is asked for. */
function verdict (ledger: Ledger, who: Judged, rooms: string[] = []): Record<string, number> {
  const all = judge(ledger, [who], rooms)
  const wrong = mustBeZero.filter((name) => all[name] > 0).map((name) => [name, all[name]])
  return { owed: all.owed, covered: all.covered, ...Object.fromEntries(wrong) }
}

t.test('judge, all got once and in order: nothing to blame', async (t) => {
  const ledger = ledgerOf({ to: ['user:u'], ids: [20] }, { to: ['group:g'], ids: [30] }, { to: ['user:other'], ids: [40] })
  t.same(verdict(ledger, client([fresh, { told: 20, mark: 0 }, { told: 30, mark: 1 }])), { owed: 2, covered: 0 })
  t.same(verdict(ledger, client([fresh, { told: 30, mark: 1 }])), { owed: 2, covered: 0, lost: 1 })
  t.same(verdict(ledger, client([fresh, { told: 30, mark: 1 }, { told: 20, mark: 0 }])), { owed: 2, covered: 0, outOfOrder: 1 })
  t.same(verdict(ledger, client([fresh, { told: 20, mark: 0 }, { told: 30, mark: 1 }, { told: 40, mark: 2 }])), { owed: 2, covered: 0, foreign: 1 })
})

t.test('judge, one publish to several addresses of one user: owed once, and a second copy is a fault', async (t) => {
  const ledger = ledgerOf({ to: ['user:u', 'group:g', 'all'], ids: [20] })
  t.same(verdict(ledger, client([fresh, { told: 20, mark: 0 }])), { owed: 1, covered: 0 })
  t.match(verdict(ledger, client([fresh, { told: 20, mark: 0 }, { told: 20, mark: 0 }])), { owed: 1, duplicates: 1 })
  t.same(verdict(ledger, client([fresh, { told: 20, mark: 0 }, { told: 21, mark: 0 }])), { owed: 1, covered: 0, publishedTwice: 1 })
  const twoIds = ledgerOf({ to: ['user:u', 'user:other'], ids: [20, 21] })
  t.match(verdict(twoIds, client([fresh, { told: 20, mark: 0 }, { told: 21, mark: 0 }])), { publishedTwice: 1 }, 'one publish has one id')
})

t.test('judge, a retry over a loss of data: may come twice, and must not otherwise', async (t) => {
  const ledger = new Ledger()
  const sent = ledger.publishes(['user:u'])
  ledger.losses++
  ledger.acknowledged(sent, [21])
  t.same(verdict(ledger, client([fresh, { told: 20, mark: 0 }, { told: 21, mark: 0 }])), { owed: 1, covered: 0 })

  const group = new Ledger()
  const first = group.publishes(['group:g'])
  const second = group.publishes(['group:g'])
  group.acknowledged(second, [30])
  group.losses++
  group.acknowledged(first, [40])
  t.same(verdict(group, client([fresh, { told: 20, mark: 0 }, { told: 30, mark: 1 }])), { owed: 2, covered: 0, lost: 1 }, 'its first id is in order')
})

t.test('judge, incomplete: covers what was missed before it, and nothing after', async (t) => {
  const ledger = ledgerOf(...[20, 30, 40, 50].map((id) => ({ to: ['user:u'], ids: [id] })))
  const got20 = [fresh, { told: 20, mark: 0 }]
  t.same(verdict(ledger, client(got20, [{ told: 40, mark: 2 }, { sync: 45, resume: 'incomplete', replayed: 1 }, { told: 50, mark: 3 }])), { owed: 4, covered: 1 })
  t.same(verdict(ledger, client(got20, [{ told: 40, mark: 2 }, { sync: 45, resume: 'complete', replayed: 1 }, { told: 50, mark: 3 }])), { owed: 4, covered: 0, lost: 1 })
  t.same(verdict(ledger, client(got20, [{ told: 40, mark: 2 }, { sync: 45, resume: 'incomplete', replayed: 1 }])), { owed: 4, covered: 1, lost: 1 }, 'not what comes later')
  const missed20: Event[] = [fresh, { told: 30, mark: 1 }]
  t.match(verdict(ledger, client(missed20, [{ sync: 55, resume: 'incomplete' }])), { covered: 2, lost: 1 }, 'not what was lost live, before')
})

t.test('judge, cut off in mid-history: whoever comes back from there is told, or it is lost', async (t) => {
  const ledger = ledgerOf(...[20, 30, 40, 50].map((id) => ({ to: ['user:u'], ids: [id] })))
  const phone = (resume: Sync['resume']) => client([fresh, { told: 20, mark: 0 }], [{ told: 40, mark: 2 }], [{ told: 50, mark: 3 }, { sync: 60, resume, replayed: 1 }])
  t.same(verdict(ledger, phone('complete')), { owed: 4, covered: 0, lost: 1 })
  t.same(verdict(ledger, phone('incomplete')), { owed: 4, covered: 1 })
  const early = client([fresh, { told: 20, mark: 0 }], [{ sync: 39, resume: 'incomplete' }, { told: 40, mark: 2 }], [{ told: 50, mark: 3 }, { sync: 60, resume: 'complete', replayed: 1 }])
  t.same(verdict(ledger, early), { owed: 4, covered: 1 }, 'told before the history')
  // 30 is of another log than 40, the one that was trimmed.
  const between = (newest: number) => client([fresh, { told: 20, mark: 0 }], [{ sync: 29, resume: 'incomplete', newest }, { told: 30, mark: 1 }, { told: 50, mark: 3 }], [{ sync: 60, resume: 'complete' }])
  t.same(verdict(ledger, between(50)), { owed: 4, covered: 1 }, 'told before the history, of something in the middle of it')
  t.same(verdict(ledger, between(35)), { owed: 4, covered: 0, lost: 1 }, 'but not of what was published after that')
})

t.test('judge, a member for a time: owed what was published then, also if they left and joined again while away', async (t) => {
  const ledger = ledgerOf({ to: ['group:room'], ids: [20] }, { to: ['group:room'], ids: [30] }, { to: ['group:room'], ids: [50] })
  Object.assign(ledger.asksToJoin('u', 'room', 11), { since: 12, until: 25, gone: 27 })
  Object.assign(ledger.asksToJoin('u', 'room', 40), { since: 42 })
  const away = (...events: Event[]) => client([fresh], events)
  t.same(verdict(ledger, away({ told: 20, mark: 0 }, { told: 50, mark: 2 }, { sync: 60, resume: 'complete', replayed: 2 }), ['room']), { owed: 2, covered: 0 })
  t.same(verdict(ledger, away({ told: 50, mark: 2 }, { sync: 60, resume: 'complete', replayed: 1 }), ['room']), { owed: 2, covered: 0, lost: 1 })
  t.same(verdict(ledger, away({ told: 50, mark: 2 }, { sync: 60, resume: 'incomplete', replayed: 1 }), ['room']), { owed: 2, covered: 1 })
  t.match(verdict(ledger, away({ told: 20, mark: 0 }, { told: 30, mark: 1 }, { told: 50, mark: 2 }, { sync: 60, resume: 'complete', replayed: 3 }), ['room']), { foreign: 1 }, 'not what was published between')
})

// — over partitions —

const division = new Division({ root: 'chaos', count: 8, isCluster: false })
/** By partition: a user of it. */
const userOf = Array.from({ length: 8 }, (_, partition) => Array.from({ length: 100 }, (_, n) => `${n}`).find((name) => division.homeOf(`user:${name}`) === partition)!)
const beside = (userId: string, who: Judged): Judged => ({ ...who, options: { ...who.options, userId } })
const home = division.homeOf('group:g')
const [here, elsewhere] = [userOf[home]!, userOf[(home + 1) % 8]!]

function over (ledger: Ledger, ...clients: Judged[]): Record<string, number> {
  const all = judge(ledger, clients, ['room'], { division })
  return { owed: all.owed, covered: all.covered, ...Object.fromEntries(mustBeZero.filter((name) => all[name] > 0).map((name) => [name, all[name]])) }
}

/** Asked for and answered in this millisecond. */
function at (ledger: Ledger, ms: number, to: string[], ...ids: number[]): void {
  const sent = ledger.publishes(to)
  ledger.acknowledged(sent, ids)
  Object.assign(sent, { askedMs: ms, answeredMs: ms })
}

t.test('judge, over partitions: a copy with an id of its own is what was owed, and a second one is a fault', async (t) => {
  const ledger = new Ledger()
  at(ledger, 20, ['group:g'], 20)
  const told = (...ids: number[]) => client([fresh, ...ids.map((told) => ({ told, mark: 0 }))])
  t.same(over(ledger, beside(here, told(20)), beside(elsewhere, told(33))), { owed: 2, covered: 0 })
  t.same(over(ledger, beside(here, told(20)), beside(elsewhere, told(33, 34))), { owed: 2, covered: 0, publishedTwice: 1 })
  t.match(over(ledger, beside(here, told(20)), beside(elsewhere, told(33, 33))), { duplicates: 1 })
  t.same(over(ledger, beside(here, told(20)), beside(elsewhere, told())), { owed: 2, covered: 0, lost: 1 }, 'nobody there has it')
  t.same(over(ledger, beside(elsewhere, told(33)), { ...beside(elsewhere, told()), options: { name: 'tab', userId: elsewhere, groups: ['g'] } }), { owed: 2, covered: 0, lost: 1 }, 'one there has it')
  t.same(over(ledger, beside(elsewhere, client([fresh], [{ sync: 40, resume: 'incomplete' }]))), { owed: 1, covered: 1 }, 'told after it was published')
  t.same(over(ledger, beside(elsewhere, client([fresh, { sync: 15, resume: 'incomplete' }]))), { owed: 1, covered: 0, lost: 1 }, 'told before it was')
})

t.test('judge, over partitions: one address comes in the order of its home, where all of a publish have one home', async (t) => {
  const ledger = new Ledger()
  at(ledger, 20, ['group:g'], 20)
  at(ledger, 30, ['group:g', 'user:x'], 30)
  const turned = beside(elsewhere, client([fresh, { told: 41, mark: 1 }, { told: 42, mark: 0 }]))
  t.same(over(ledger, beside(here, client([fresh, { told: 20, mark: 0 }, { told: 30, mark: 1 }]))), { owed: 2, covered: 0 })
  t.same(over(ledger, turned), { owed: 2, covered: 0, outOfOrder: 1 })
  const other = Array.from({ length: 100 }, (_, n) => `group:${n}`).find((group) => division.homeOf(group) !== home)!
  const wide = new Ledger()
  at(wide, 20, ['group:g'], 20)
  at(wide, 30, ['group:g', other], 30)
  t.same(over(wide, turned), { owed: 2, covered: 0 }, 'of two homes none is promised')
})

t.test('judge, over partitions: a member is owed what was published after the join was answered', async (t) => {
  const ledger = new Ledger()
  at(ledger, 20, ['group:room'], 20)
  at(ledger, 30, ['group:room'], 30)
  Object.assign(ledger.asksToJoin(elsewhere, 'room', 11), { since: 21, sinceMs: 25 })
  t.same(over(ledger, beside(elsewhere, client([fresh, { told: 22, mark: 0 }, { told: 31, mark: 1 }]))), { owed: 1, covered: 0 })
  t.same(over(ledger, beside(elsewhere, client([fresh, { told: 22, mark: 0 }]))), { owed: 1, covered: 0, lost: 1 })
})

t.test('judge, of what was asked for while masters changed: an incomplete at any time after it is enough, and without one it is lost', async (t) => {
  const told = (resume: Sync['resume']) => beside(elsewhere, client([fresh, { told: 41, mark: 1 }, { sync: 45, resume }]))
  const tab = beside(elsewhere, client([fresh, { told: 40, mark: 0 }, { told: 41, mark: 1 }]))
  for (const changes of [0, 1]) {
    const ledger = new Ledger()
    ledger.changes = changes
    at(ledger, 20, ['group:g'], 20)
    at(ledger, 30, ['group:g'], 30)
    t.same(over(ledger, told('incomplete'), tab), changes === 0 ? { owed: 4, covered: 0, lost: 1 } : { owed: 4, covered: 1 })
    t.same(over(ledger, told('complete'), tab), { owed: 4, covered: 0, lost: 1 })
  }
})

t.test('judge, of a copy that was owed when masters changed: it may come again by the old one, and never elsewhere or at other times', async (t) => {
  const S = 1_000_000 // ids are microseconds
  const twice = (first: number, last: number, where = elsewhere) =>
    [beside(where, client([fresh, { told: first, mark: 0 }, { told: last, mark: 0 }])), beside(where, client([fresh, { told: last, mark: 0 }]))] as const
  const over20s = (first: number, last: number, where = elsewhere) => {
    const ledger = new Ledger()
    at(ledger, 20, ['group:g'], first)
    const clock = t.capture(Date, 'now', () => nowMs)
    let nowMs = 100_000
    ledger.healed() // of something before
    const changed = ledger.mastersChange()
    nowMs = 120_000
    changed()
    nowMs = 125_000
    ledger.healed()
    nowMs = 500_000
    ledger.healed()
    clock.restore()
    return over(ledger, ...twice(first, last, where))
  }
  const fault = { owed: 2, covered: 0, publishedTwice: 1 }
  t.same(over20s(99 * S, 119 * S), { owed: 2, covered: 0 }, 'the old master, awake again')
  t.same(over20s(110 * S, 124 * S), { owed: 2, covered: 0 }, 'copied again before all was well')
  t.same(over20s(95 * S, 99 * S), fault, 'before they changed')
  t.same(over20s(121 * S, 124 * S), fault, 'after they had')
  t.same(over20s(85 * S, 119 * S), fault, 'what replicas have had for long')
  t.same(over20s(110 * S, 126 * S), fault, 'when all was well again')
  t.same(over20s(99 * S, 119 * S, here), fault, 'where it was committed')
  const [tab] = twice(99 * S, 119 * S)
  const ledger = ledgerOf({ to: ['group:g'], ids: [99 * S] })
  ledger.mastersChange()
  t.match(judge(ledger, [tab], []), { publishedTwice: 1 }, 'where there is one partition alone, and no copy')
})

t.test('judge, of what an emptied Redis gave an old id: an incomplete after it covers it, until all have heard of the loss', async (t) => {
  const told = (resume: Sync['resume']): Judged => client([fresh, { told: 20, mark: 0 }, { sync: 30, resume }])
  const over = (when: 'before' | 'meanwhile' | 'after', resume: Sync['resume']): Record<string, number> => {
    const ledger = ledgerOf({ to: ['user:u'], ids: [20] })
    const publish = (): void => { ledger.acknowledged(ledger.publishes(['user:u']), [15]) }
    if (when === 'before') publish()
    ledger.loses()
    if (when === 'meanwhile') publish()
    ledger.healed()
    if (when === 'after') publish()
    const who = told(resume)
    return verdict(ledger, { ...who, syncs: who.syncs.map((sync) => sync.resume === 'fresh' ? sync : { ...sync, atMs: performance.now() }) })
  }
  t.same(over('meanwhile', 'incomplete'), { owed: 2, covered: 1 })
  t.same(over('meanwhile', 'complete'), { owed: 2, covered: 0, lost: 1 })
  t.same(over('before', 'incomplete'), { owed: 2, covered: 0, lost: 1 })
  t.same(over('after', 'incomplete'), { owed: 2, covered: 0, lost: 1 })
})
