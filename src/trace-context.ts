// W3C Trace Context, as messages carry it: https://www.w3.org/TR/trace-context/#traceparent-header

/** Version, trace, span and flags. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/**
 * Returns a `traceparent` of version 00, or of a later version that can be read as such; undefined for anything else.
 */
export function parseTraceparent (text: unknown): string | undefined {
  return typeof text === 'string' && TRACEPARENT.test(text) ? text : undefined
}

/** The trace that a `traceparent` names. */
export function traceIdOf (traceparent: string): string {
  return traceparent.slice(3, 35)
}

/** Whether the trace is recorded: the last bit of the flags. */
export function isSampled (traceparent: string): boolean {
  return '13579bdf'.includes(traceparent.charAt(54))
}
