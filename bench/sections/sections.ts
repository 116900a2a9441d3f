// Every section, in the order in which they run.
import { burst } from './burst.ts'
import { churn } from './churn.ts'
import { fanout } from './fanout.ts'
import { footprint } from './footprint.ts'
import { front } from './front.ts'
import { idle } from './idle.ts'
import { inbox } from './inbox.ts'
import { latency } from './latency.ts'
import { partitions, partitionsFanout } from './partitions.ts'
import { publish } from './publish.ts'
import { scaling, scalingBurst } from './scaling.ts'
import type { AnySection } from './section.ts'
import { seeing } from './seeing.ts'
import { storm } from './storm.ts'
import { text } from './text.ts'

export const sections: readonly AnySection[] = [
  fanout, burst, idle, churn, latency, storm, publish, text, inbox, partitions, partitionsFanout, scaling, scalingBurst, footprint, front, seeing
]

/** What --only may name: scaling-burst and footprint come with scaling. */
export const sectionNames: readonly string[] = sections.filter(({ partOf }) => partOf === undefined).map(({ name }) => name)
