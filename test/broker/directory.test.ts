// When a node tells the homes of groups which partitions have members: as often as needed, and no more.
import t from 'tap'
import { Uncertain, Unavailable } from '../../src/broker/broker.ts'
import { Directory } from '../../src/broker/redis/partitions/directory.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import type { RedisBroker } from '../../src/broker/redis/redis.ts'
import { becomes } from './nodes.ts'

const tags = tagsOf(2)
const nameIn = (partition: number): string => Array.from({ length: 100 }, (_, i) => `name-${i}`).find((name) => partitionOf(name, 2) === partition)!
const [user, group] = [nameIn(0), nameIn(1)]
const nowSeconds = Date.now() / 1000
const DAY = 86_400

/** Two partitions that note what they are asked; the second, the group's home, may be away. */
function start () {
  const calls: Array<[name: string, ...args: Array<string | number>]> = []
  const home = { isAway: false, hangs: false, failure: new Unavailable('away') }
  /** What the members' partition waits for before it hears that homes were told. */
  const hearing = { after: Promise.resolve() }
  const groups = new Map<string, number>()
  const partitions = tags.map((_, i) => ({
    saw () {},
    groups: async (userId: string) => {
      if (userId === user) calls.push(['groups'])
      return groups
    },
    call: async (name: string, ...args: Array<string | number>) => {
      if (i === 1 && home.isAway) throw home.failure
      calls.push([name, ...args])
      if (i === 1 && home.hangs) await new Promise(() => {})
      if (name === 'tidings_heard') await hearing.after
      return name === 'tidings_enter' ? [''] : name === 'tidings_joined' ? ['0'] : name === 'tidings_unheard' ? args.slice(1) : []
    }
  }))
  const directory = new Directory({ partitions: partitions as unknown as RedisBroker[], tags, historySeconds: 60, onLate () {} })
  return { directory, groups, home, hearing, named: (name: string) => calls.filter(([called]) => called === name) }
}

t.test('tokens that last longer and longer: homes are told of one in a day', async (t) => {
  const { directory, named } = start()
  const told: number[] = []
  for (const hours of [0, 23, 25, 47, 50]) {
    await directory.admit(user, [group], nowSeconds + 30 * DAY + hours * 3600)
    told.push(named('tidings_enter').length)
  }
  t.same(told, [1, 1, 2, 2, 3])
})

t.test('a group that is doubted: its home is told again, once a minute', async (t) => {
  const { directory, named } = start()
  const told = async (): Promise<number> => {
    await directory.admit(user, [group], nowSeconds)
    return named('tidings_enter').length
  }
  directory.tick()
  t.same([await told(), await told()], [1, 1], 'remembered')
  for (const times of [2, 3]) {
    for (let i = 0; i < 5; i++) {
      directory.doubt(user, [group], nowSeconds)
      t.equal(await told(), times)
    }
    for (let i = 0; i < 60; i++) directory.tick()
  }
})

t.test('a group that is doubted while its home does not answer: nobody else waits for that', async (t) => {
  const { directory, home, named } = start()
  await directory.admit(user, [group], nowSeconds)
  home.hangs = true
  directory.doubt(user, [group], nowSeconds)
  await directory.admit(user, [group], nowSeconds)
  t.equal(named('tidings_enter').length, 2)
})

t.test('a token without a claim: groups that others claim later are entered for as long, within a day', async (t) => {
  const { directory, groups, named } = start()
  const month = nowSeconds + 30 * DAY
  const days = (): number[] => named('tidings_enter').map(([, , until]) => Math.floor((until as number - nowSeconds) / DAY))
  await directory.prolong(user, month)
  t.equal(named('tidings_enter').length, 0, 'it has none yet')
  await directory.admit(user, [group], nowSeconds + 3600)
  groups.set(group, 1)
  await directory.prolong(user, month)
  t.same(days(), [2])
  for (let i = 0; i < DAY; i++) directory.tick()
  await directory.prolong(user, month)
  t.same(days(), [2, 33])
  await directory.prolong(user, month)
  t.equal(days().length, 2, 'once a day')
})

t.test('a token without a claim, while the home of a group is away: tried again', async (t) => {
  const { directory, groups, home, named } = start()
  groups.set(group, 1)
  home.isAway = true
  await t.rejects(directory.prolong(user, nowSeconds + 30 * DAY), { message: 'away' })
  home.isAway = false
  await directory.prolong(user, nowSeconds + 30 * DAY)
  t.equal(named('tidings_enter').length, 1)
})

t.test('a home that was away: told, when it is back, of the longest of those who came meanwhile', async (t) => {
  const { directory, home, named } = start()
  home.isAway = true
  await directory.admit(user, [group], nowSeconds + 9_000_000)
  home.failure = new Uncertain('no answer')
  await directory.admit(user, [group], nowSeconds + 5)
  t.equal(named('tidings_enter').length, 0)
  home.isAway = false
  directory.tick()
  await becomes(() => named('tidings_heard').length === 1, 'the home to be told')
  const [[, tag, until, ...groups]] = named('tidings_enter') as [[string, string, number, string]]
  t.same([tag, groups], [tags[0], [group]])
  t.ok(until > nowSeconds + 9_000_000, `${until - nowSeconds}`)
  await new Promise(setImmediate)
  directory.tick()
  await new Promise(setImmediate)
  t.equal(named('tidings_enter').length, 1, 'once')
  t.same(named('tidings_heard'), [['tidings_heard', 1, group]], 'as one that was late')
})

t.test('a home that answered and then went away, amid two visits: told when it is back, or the log would stay cut', async (t) => {
  const { directory, home, hearing, named } = start()
  const heard = Promise.withResolvers<void>()
  hearing.after = heard.promise
  const first = directory.admit(user, [group], nowSeconds)
  await becomes(() => named('tidings_heard').length === 1, 'the home to be told')
  home.isAway = true
  await directory.admit(user, [group], nowSeconds)
  t.equal(named('tidings_unheard').length, 1)
  heard.resolve()
  await first
  home.isAway = false
  directory.tick()
  await becomes(() => named('tidings_heard').length === 2, 'the home to be told again')
  t.same(named('tidings_heard')[1], ['tidings_heard', 1, group])
})

t.test('data that may be lost: what is joined through the API is entered again at the next tick', async (t) => {
  const { directory, named } = start()
  directory.tick()
  await becomes(() => named('tidings_joined').length === 2, 'both to be asked')
  directory.tick()
  t.equal(named('tidings_joined').length, 2, 'not each second')
  await new Promise(setImmediate) // the renewal is over: nothing here waits for more than a promise
  await directory.prolong(user, nowSeconds)
  directory.forget()
  await directory.prolong(user, nowSeconds)
  t.equal(named('groups').length, 2, 'what a user claims, too')
  directory.tick()
  await becomes(() => named('tidings_joined').length === 4, 'both to be asked again')
})

t.test('a home that does not answer: what is told each second, and each minute, does not pile up', async (t) => {
  const { directory, home, named } = start()
  home.isAway = true
  await directory.admit(user, [group], nowSeconds)
  Object.assign(home, { isAway: false, hangs: true })
  for (let i = 0; i < 121; i++) {
    directory.tick()
    await new Promise(setImmediate)
  }
  t.equal(named('tidings_enter').length, 1)
  t.equal(named('tidings_joined').length, 2, 'one for each partition')
})

t.test('what a node remembers is bounded: past many groups, and past many users, it begins anew', async (t) => {
  const { directory, named } = start()
  directory.tick()
  const told = async (): Promise<number> => {
    await directory.admit(user, [group], nowSeconds)
    return named('tidings_enter').filter((call) => call.includes(group)).length
  }
  t.same([await told(), await told()], [1, 1], 'remembered')
  for (let i = 0; i < 201; i++) await directory.admit(user, Array.from({ length: 1000 }, (_, n) => `${i}-${n}`), nowSeconds)
  t.equal(await told(), 2)

  const asked = async (): Promise<number> => {
    await directory.prolong(user, nowSeconds)
    return named('groups').length
  }
  t.same([await asked(), await asked()], [1, 1], 'remembered')
  for (let i = 0; i < 201_000; i++) await directory.prolong(`${i}`, nowSeconds)
  t.equal(await asked(), 2)
})
