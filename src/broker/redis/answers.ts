// What Redis's errors mean: one of the port's, a refusal before anything was done, or no answer.
import { Revoked, TooManyGroups, Uncertain, Unavailable } from '../broker.ts'
import { FuturePosition, NoNotification, TooManyMarks } from '../inbox.ts'
import { explain } from './diagnosis.ts'

const ERRORS: Readonly<Record<string, new (message: string) => Error>> = {
  TIDINGS_TOO_MANY_GROUPS: TooManyGroups,
  TIDINGS_TOKEN_REVOKED: Revoked,
  TIDINGS_FUTURE_POSITION: FuturePosition,
  TIDINGS_NO_NOTIFICATION: NoNotification,
  TIDINGS_TOO_MANY_MARKS: TooManyMarks,
  TIDINGS_NOT_READY: Unavailable
}

/** Redis's answers that it gives before it runs anything; and the client's, when there is no line to ask on. */
const isRefusal = /^(OOM|READONLY|LOADING|MASTERDOWN|NOREPLICAS|MISCONF|BUSY|NOPERM|NOAUTH|WRONGPASS|CLUSTERDOWN|MOVED|ASK|TRYAGAIN|Stream isn't writeable)/

/** The function is not in the library, or there is none. */
export function isMissing ({ message }: Error): boolean {
  return message.includes('Function not found')
}

/** A library of this name is there. */
export function isAlreadyLoaded ({ message }: Error): boolean {
  return /Library '\w+' already exists/.test(message)
}

/**
 * In a Cluster: somebody else has the key, or will have it; nothing was done. Behind Sentinels a master that is one no
 * more.
 */
export function isElsewhere ({ message }: Error): boolean {
  return /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN|READONLY) /.test(message)
}

/** There was no line to ask on. */
export function isClosed ({ message }: Error): boolean {
  return message === 'Connection is closed.' || message.startsWith("Stream isn't writeable")
}

/** Asked, but not answered: a time-out, or the connection broke underneath. */
export function isUnanswered (error: Error): boolean {
  return error.message.includes('timed out') || error.name === 'MaxRetriesPerRequestError' || isClosed(error)
}

/** Redis's error as one of the port's. */
export function translate (error: Error): Error {
  const { message } = error
  if (error instanceof Unavailable) return error
  const code = /^TIDINGS_[A-Z_]+/.exec(message)?.[0]
  const Known = code === undefined ? undefined : ERRORS[code]
  if (Known !== undefined) return new Known(explain(message))
  return isRefusal.test(message) || isMissing(error) ? new Unavailable(explain(message)) : new Uncertain(explain(message))
}
