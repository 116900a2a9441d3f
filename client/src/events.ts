// Parses the text of an event stream (WHATWG HTML, 9.2.6). EventSource would only deliver event names that it was told.

/** One event as it was sent. */
export interface Received {
  /** Its own id; undefined if it has none. (EventSource would repeat the previous one.) */
  readonly id: string | undefined
  /** `message` if the event has no name. */
  readonly event: string
  readonly data: string
}

export interface EventReader {
  onEvent: (received: Received) => void
  /** Milliseconds. */
  retry: (ms: number) => void
}

/** Returns a function that takes the text piece by piece, wherever it was cut. */
export function createReader (on: EventReader): (text: string) => void {
  let rest = ''
  let fields: { id?: string, event?: string, data?: string, [name: string]: string | undefined } = {}
  return (text) => {
    // A CR at the very end may be half of a CRLF, so it waits for what follows.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop()!
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)/s.exec(line) as unknown as [string, string, string]
      const { id, event, data } = fields
      if (!line) {
        if (data !== undefined) on.onEvent({ id, event: event || 'message', data })
        fields = {}
      } else fields[field] = field === 'data' && data !== undefined ? `${data}\n${value}` : value
      // The service says an hour at most. Timers overflow after 24 days.
      if (field === 'retry' && /^\d{1,7}$/.test(value)) on.retry(+value)
    }
  }
}
