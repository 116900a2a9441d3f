// The text of an event stream, cut into events (WHATWG HTML, 9.2.6). EventSource would hand over only the names that it
// is told.

/** One event as it stands on the wire. */
export interface Received {
  /** Its own id; undefined if it has none. (EventSource would repeat the last one.) */
  readonly id: string | undefined
  /** `message` if the stream names none. */
  readonly event: string
  readonly data: string
}

export interface EventReader {
  event: (received: Received) => void
  /** Milliseconds. */
  retry: (ms: number) => void
}

/** A function to be called with each piece of text, whatever the places where the line was cut. */
export function createReader (on: EventReader): (text: string) => void {
  let rest = ''
  let id: string | undefined
  let event = ''
  let data: string | undefined
  return (text) => {
    // A CR at the very end may be half of a CRLF: it waits for what follows.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop()!
    for (const line of lines) {
      if (line === '') {
        if (data !== undefined) on.event({ id, event: event || 'message', data })
        id = data = undefined
        event = ''
        continue
      }
      const [, field, value = ''] = /^([^:]*):? ?(.*)/s.exec(line)!
      if (field === 'data') data = data === undefined ? value : `${data}\n${value}`
      else if (field === 'event') event = value
      else if (field === 'id') id = value
      // The service says an hour at most; a timer holds 24 days.
      else if (field === 'retry' && /^\d{1,7}$/.test(value)) on.retry(Number(value))
    }
  }
}
