// Whose a stream is, and what its connect said of it.
import type { Identity } from '../broker/broker.ts'
import type { ResumeFrom } from '../notification.ts'

export interface StreamOwner extends Identity {
  /** The groups that the token claims; undefined without that claim. Each fill needs them. */
  readonly groups: readonly string[] | undefined
  /** The id of the visit that admitted it. */
  readonly admittedAt: number
  /** The position that the browser's reconnect sent (`Last-Event-ID`); `fresh` if a page opened the stream. */
  readonly reconnectsFrom: ResumeFrom
}
