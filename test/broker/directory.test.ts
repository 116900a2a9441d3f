// When a node tells the homes of groups which partitions have members: as often as needed, and no more.
import t from 'tap'
import { Unavailable } from '../../src/broker/broker.ts'
import { Directory } from '../../src/broker/redis/partitions/directory.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import type { RedisBroker } from '../../src/broker/redis/redis.ts'
import { becomes } from './nodes.ts'

const tags = tagsOf(2)
const nameIn = (partition: number): string => Array.from({ length: 100 }, (_, i) => `name-${i}`).find((name) => partitionOf(name, 2) === partition)!
const [user, group] = [nameIn(0), nameIn(1)]
const nowSeconds = Date.now() / 1000

/** Two partitions that note what they are asked; the second, the group's home, may be away. */
function start () {
  const calls: Array<[name: string, ...args: Array<string | number>]> = []
  const home = { isAway: false }
  const partitions = tags.map((_, i) => ({
    saw () {},
    call: async (name: string, ...args: Array<string | number>) => {
      if (i === 1 && home.isAway) throw new Unavailable('away')
      calls.push([name, ...args])
      return name === 'tidings_enter' ? [''] : name === 'tidings_joined' ? ['0'] : name === 'tidings_unheard' ? args.slice(1) : []
    }
  }))
  const directory = new Directory({ partitions: partitions as unknown as RedisBroker[], tags, historySeconds: 60, onLate () {} })
  return { directory, home, named: (name: string) => calls.filter(([called]) => called === name) }
}

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
      directory.doubt(user, [group])
      t.equal(await told(), times)
    }
    for (let i = 0; i < 60; i++) directory.tick()
  }
})

t.test('a home that was away: told, when it is back, of the longest of those who came meanwhile', async (t) => {
  const { directory, home, named } = start()
  home.isAway = true
  for (const seconds of [9_000_000, 5]) await directory.admit(user, [group], nowSeconds + seconds)
  t.equal(named('tidings_enter').length, 0)
  home.isAway = false
  directory.tick()
  await becomes(() => named('tidings_heard').length === 1, 'the home to be told')
  const [[, tag, until, ...groups]] = named('tidings_enter') as [[string, string, number, string]]
  t.same([tag, groups], [tags[0], [group]])
  t.ok(until > nowSeconds + 9_000_000, `${until - nowSeconds}`)
})

t.test('data that may be lost: what is joined through the API is entered again at the next tick', async (t) => {
  const { directory, named } = start()
  directory.tick()
  await becomes(() => named('tidings_joined').length === 2, 'both to be asked')
  directory.tick()
  t.equal(named('tidings_joined').length, 2, 'not each second')
  await new Promise(setImmediate) // the renewal is over: nothing here waits for more than a promise
  directory.forget()
  directory.tick()
  await becomes(() => named('tidings_joined').length === 4, 'both to be asked again')
})
