// What errors of Redis mean: one of the port's errors, a refusal before anything was done, or a missing answer.
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

/** Errors that Redis answers before it runs anything, and the client's error when it has no connection. */
const isRefusal = /^(OOM|READONLY|LOADING|MASTERDOWN|NOREPLICAS|MISCONF|BUSY|NOPERM|NOAUTH|WRONGPASS|CLUSTERDOWN|MOVED|ASK|TRYAGAIN|Stream isn't writeable)/

/** The library lacks the function, or is not loaded. */
export function isMissing ({ message }: Error): boolean {
  return message.includes('Function not found')
}

/** A library of this name is loaded already. */
export function isAlreadyLoaded ({ message }: Error): boolean {
  return /Library '\w+' already exists/.test(message)
}

/**
 * The key belongs to another node, or soon will (Cluster), or this is no master any more (Sentinel). Nothing was done.
 */
export function isElsewhere ({ message }: Error): boolean {
  return /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN|READONLY) /.test(message)
}

/** There was no connection to send the command on, or it closed before the answer. */
export function isClosed ({ message, name }: Error): boolean {
  return name === 'MaxRetriesPerRequestError' || message === 'Connection is closed.' || message.startsWith("Stream isn't writeable")
}

/** What the client library says of a connection that has just closed explains nothing, so others come before it. */
export function tellingOf (reasons: readonly Error[]): Error[] {
  const telling = reasons.filter((reason) => !isClosed(reason))
  return telling.length > 0 ? telling : reasons.map(() => new Error('the connection closed'))
}

/** The command got no answer: it timed out, or the connection broke. */
export function isUnanswered (error: Error): boolean {
  return error.message.includes('timed out') || isClosed(error)
}

/** Maps an error of Redis to one of the port's. */
export function translate (error: Error): Error {
  const { message } = error
  if (error instanceof Unavailable) return error
  const code = /^TIDINGS_[A-Z_]+/.exec(message)?.[0]
  const PortError = code === undefined ? undefined : ERRORS[code]
  if (PortError !== undefined) return new PortError(explain(message))
  return isRefusal.test(message) || isMissing(error) ? new Unavailable(explain(message)) : new Uncertain(explain(message))
}
