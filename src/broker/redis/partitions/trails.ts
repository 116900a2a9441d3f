// The trails of several partitions as one: what is of a user, and what came on a channel, each stands in its own.
import type { Trail } from '../../trail.ts'
import { addressAt, partitionAt } from './channels.ts'

/** `indexOf`: which of them a user's is. */
export function trailOf (trails: readonly Trail[], indexOf: (userId: string) => number): Trail {
  return {
    wrote: (node, channel, id, receipt) => {
      trails[partitionAt(channel)]!.wrote(node, addressAt(channel), id, receipt)
    },
    note: (userId, line) => { trails[indexOf(userId)]!.note(userId, line) },
    flush: async () => { await Promise.all(trails.map((trail) => trail.flush())) },
    evidence: (userId, id) => trails[indexOf(userId)]!.evidence(userId, id)
  }
}
