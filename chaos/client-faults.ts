// What clients and publishers do: they stop reading, are away while much is published, break off in mid-history,
// publish in bursts.
import type { Fault } from './fault.ts'
import type { Listener } from './listener.ts'

/** What a burst has: notifications to users, to groups, and to all. */
const BURST = 2000
/** Most that a stalled client is sent until it is cut, in notifications of 15 KB. */
const FLOOD = 900
const FLOOD_BYTES = 15_000
/** More than a log keeps. */
const BEYOND_HISTORY = 1300
/** What a phone has of its history when its line breaks. */
const CUT_AFTER = 20

export const clientFaults: readonly Fault[] = [
  {
    name: 'clients-stall',
    what: 'three clients stop reading until STREAM_BUFFER_BYTES are unsent, then go on',
    shows: 'itself',
    make: async ({ world, publishers, random, metric, noticed }) => {
      const stalled = random.shuffled(world.listeners).slice(0, 3)
      const cut = async (): Promise<number> => await metric('tidings_streams_ended_total', 'reason="slow"')
      const before = await cut()
      for (const listener of stalled) listener.stall()
      const filling = 'x'.repeat(FLOOD_BYTES)
      for (let sent = 0, isCut = false; sent < FLOOD && !isCut; sent += 10) {
        await Promise.all(stalled.flatMap(({ options: { userId } }) => Array.from({ length: 10 }, () => publishers.fcall([`user:${userId}`], { filling }))))
        isCut = await cut() >= before + stalled.length
        if (isCut) noticed()
      }
      for (const listener of stalled) listener.resume()
    }
  },
  {
    name: 'publish-burst',
    what: `${BURST} durable notifications at once`,
    shows: 'nothing',
    isMild: true,
    make: async ({ world, publishers, random }) => {
      await Promise.all(Array.from({ length: BURST }, () => {
        const dice = random.next()
        const to = dice < 0.02 ? 'all' : dice < 0.2 ? `group:${random.pick(world.fixedGroups)}` : `user:${random.pick(world.users)}`
        return publishers.fcall([to])
      }))
    }
  },
  {
    name: 'publish-overlapping',
    what: '200 notifications, each to several addresses of which one user is in two or three',
    shows: 'nothing',
    isMild: true,
    make: async ({ publishers, random }) => {
      await Promise.all(Array.from({ length: 200 }, () => publishers.http(publishers.overlapping(random), random)))
    }
  },
  {
    name: 'phone-and-laptop',
    what: 'all devices of a user are away while their log is trimmed; one breaks off in mid-history, another does not, then it returns',
    shows: 'nothing',
    make: async ({ world, publishers, random }) => {
      const [phone, ...others] = random.shuffled(world.listenersOf(random.pick(world.users)))
      const mine = [phone!, ...others]
      const away = mine.map((listener) => listener.ends + 1)
      for (const listener of mine) listener.goAway()
      await world.until(() => mine.every(({ ends }, at) => ends >= away[at]!))
      const { userId } = phone!.options
      for (let sent = 0; sent < BEYOND_HISTORY; sent += 100) await Promise.all(Array.from({ length: 100 }, () => publishers.fcall([`user:${userId}`])))
      const ends = phone!.ends
      phone!.comeBack({ cutAfter: random.below(CUT_AFTER) + 1 })
      await world.until(() => phone!.ends > ends || phone!.isLive)
      phone!.goAway()
      for (const laptop of others) laptop.comeBack()
      await world.until(() => others.every(isLive))
      phone!.comeBack()
    }
  },
  {
    name: 'rejoin-while-away',
    what: 'a member is away, their group is published to, and they are taken out of it and put in again before they return',
    shows: 'nothing',
    make: async ({ world, publishers, random }) => {
      const user = random.pick(world.users)
      await publishers.members.enter(user, random)
      const mine = world.listenersOf(user)
      const away = mine.map((listener) => listener.ends + 1)
      for (const listener of mine) listener.goAway()
      await world.until(() => mine.every(({ ends }, at) => ends >= away[at]!))
      await Promise.all(publishers.members.groupsOf(user).map((group) => publishers.fcall([`group:${group}`])))
      await publishers.members.rejoin(user)
      for (const listener of mine) listener.comeBack()
    }
  }
]

const isLive = ({ isLive, closedBy }: Listener): boolean => isLive || closedBy !== undefined
