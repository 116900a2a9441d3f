// Merges several logs in the order of ids, reading no further than needed.
import type { Entry } from './log.ts'

interface Head {
  entry: Entry
  readonly rest: Iterator<Entry, void>
}

/**
 * Merges sources that are sorted by id, lazily. A notification in several of them is yielded several times in a row,
 * since the caller counts these too. A binary heap holds the next entry of each source, so a step costs the logarithm
 * of their number.
 */
export function * merge (sources: ReadonlyArray<Iterator<Entry, void>>): Generator<Entry, void> {
  const heads: Head[] = []
  for (const rest of sources) {
    const first = rest.next()
    if (first.done !== true) heads.push({ entry: first.value, rest })
  }
  heads.sort((a, b) => a.entry.id - b.entry.id)
  while (heads.length > 0) {
    const top = heads[0]!
    yield top.entry
    const next = top.rest.next()
    if (next.done !== true) top.entry = next.value
    else {
      const end = heads.pop()!
      if (heads.length > 0) heads[0] = end
    }
    sink(heads)
  }
}

function sink (heads: Head[]): void {
  const top = heads[0]
  if (top === undefined) return
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child + 1 < heads.length && heads[child + 1]!.entry.id < heads[child]!.entry.id) child++
    if (child >= heads.length || heads[child]!.entry.id >= top.entry.id) break
    heads[at] = heads[child]!
    at = child
  }
  heads[at] = top
}
