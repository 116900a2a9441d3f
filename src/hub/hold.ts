// What waits while a stream may not write.
import type { Channel } from './channels.ts'
import type { Frame } from './frame.ts'

/** A notification that waits, and where it came from. */
interface Held {
  readonly frame: Frame
  readonly channel: Channel
}

/** While a stream may not write: what came meanwhile, and how new an answer of the broker must be to end that. */
export interface Hold {
  frames: Held[]
  bytes: number
  since: number
}
