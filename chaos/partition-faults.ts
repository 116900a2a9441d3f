// What befalls several partitions alone: whoever has committed in one dies before it has copied anything to the others.
import type { Fault } from './fault.ts'

/** Publishes of one such fault, and how many of them die with one process. */
const DEATHS = 200
const TOGETHER = 50
/** Copies that such a process may have made before it dies. */
const MOST_COPIES = 20

export const partitionFaults: readonly Fault[] = [
  {
    name: 'publishers-die',
    what: `publishers are killed (SIGKILL) between their commit and their copies, with ${DEATHS} publishes under way (with more than one partition)`,
    shows: 'nothing',
    needsPartitions: true,
    make: async ({ world, publishers, random }) => {
      const batches = Array.from({ length: DEATHS / TOGETHER }, () => ({
        copies: random.below(MOST_COPIES),
        publishes: Array.from({ length: TOGETHER }, () => {
          const dice = random.next()
          const shared = dice < 0.2 ? 'all' : `group:${random.pick(world.fixedGroups)}`
          return dice < 0.7 ? [shared] : [shared, `user:${random.pick(world.users)}`]
        })
      }))
      await Promise.all(batches.map(async ({ publishes, copies }) => { await publishers.die(publishes, copies) }))
    }
  }
]
