// What befalls several partitions alone: whoever has committed in one dies before it has copied anything to the others.
import type { Fault } from './fault.ts'

/** Publishers of one such fault. */
const DEATHS = 200
const AT_ONCE = 10

export const partitionFaults: readonly Fault[] = [
  {
    name: 'publishers-die',
    what: `${DEATHS} publishers are killed between their commit and their copies (with more than one partition)`,
    shows: 'nothing',
    needsPartitions: true,
    make: async ({ world, publishers, random }) => {
      for (let died = 0; died < DEATHS; died += AT_ONCE) {
        await Promise.all(Array.from({ length: AT_ONCE }, async () => {
          const dice = random.next()
          const shared = dice < 0.2 ? 'all' : `group:${random.pick(world.fixedGroups)}`
          await publishers.dies(dice < 0.7 ? [shared] : [shared, `user:${random.pick(world.users)}`])
        }))
      }
    }
  }
]
