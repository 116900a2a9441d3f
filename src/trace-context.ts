// W3C Trace Context, as messages carry it: https://www.w3.org/TR/trace-context/#traceparent-header

/** Version, trace, span and flags. In versions after 00 more may follow. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:$|(?<!^00.{53})-)/
const LENGTH = 55

/**
 * Returns a `traceparent` of version 00, also of a later one with what version 00 knows of it; undefined for anything
 * else.
 */
export function parseTraceparent (text: unknown): string | undefined {
  return typeof text === 'string' && TRACEPARENT.test(text) ? `00${text.slice(2, LENGTH)}` : undefined
}

/** The trace that a `traceparent` names. */
export function traceIdOf (traceparent: string): string {
  return traceparent.slice(3, 35)
}

/** Whether the trace is recorded: the last bit of the flags. */
export function isSampled (traceparent: string): boolean {
  return '13579bdf'.includes(traceparent.charAt(54))
}
