// Combines the trails of several partitions: records about a user or a channel are in the partition of that user or
// channel.
import type { Evidence, Trail } from '../../trail.ts'
import type { RedisTrail } from '../trail.ts'
import { addressAt, partitionAt } from './channels.ts'
import { nameOf } from './slots.ts'

/** `indexOf`: the partition of a user or a group. */
export function trailOf (trails: readonly RedisTrail[], indexOf: (name: string) => number): Trail {
  return {
    wrote: (node, channel, id, receipt) => {
      trails[partitionAt(channel)]!.wrote(node, addressAt(channel), id, receipt)
    },
    note: (userId, line) => { trails[indexOf(userId)]!.note(userId, line) },
    keepsNone: () => { for (const trail of trails) trail.keepsNone() },
    flush: async () => { await Promise.all(trails.map((trail) => trail.flush())) },
    evidence: async (userId, id) => {
      const { evidence, absences } = await trails[indexOf(userId)]!.evidenceHere(userId, id)
      if (evidence.places.length > 0) return evidence
      // A partition gets copies of a group's notifications only while it has members. Earlier ones are at the group's
      // home only.
      const byHome = Map.groupBy(absences, ([to]) => indexOf(nameOf(to)))
      const places = await Promise.all([...byHome].map(async ([home, absences]) => await trails[home]!.stands(id, absences)))
      return { ...evidence, places: places.flat() } satisfies Evidence
    }
  }
}
