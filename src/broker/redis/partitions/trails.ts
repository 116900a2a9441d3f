// The trails of several partitions as one: what is of a user, and what came on a channel, each stands in its own.
import type { Evidence, Trail } from '../../trail.ts'
import type { RedisTrail } from '../trail.ts'
import { addressAt, partitionAt } from './channels.ts'
import { nameOf } from './slots.ts'

/** `indexOf`: which of them that of a user or a group is. */
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
      // A partition gets what is published to a group while it has members of it: what came before them stands at the
      // group's home alone.
      const byHome = Map.groupBy(absences, ([to]) => indexOf(nameOf(to)))
      const found = await Promise.all([...byHome].map(async ([home, absences]) => await trails[home]!.stands(id, absences)))
      return { ...evidence, places: found.flat() } satisfies Evidence
    }
  }
}
