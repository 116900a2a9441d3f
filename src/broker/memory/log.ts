// The bounded history of one address, oldest first, and up to where it was trimmed.
import type { Keep, Notification } from '../../notification.ts'
import { MAX_GONE } from '../trail.ts'

export interface Entry extends Notification {
  readonly keep: Keep
  readonly key: string | undefined
  /** From this id on it is not replayed, listed or counted; Infinity without a ttl. */
  readonly expiresAt: number
}

/** Trimming moves the whole array, so a hundred entries are removed at once. */
const TRIM_STEP = 100

/** Why an entry was removed on purpose, and at which id. */
export interface Buried {
  readonly state: 'retracted' | 'replaced'
  readonly at: number
}

export class Log {
  /** In ascending order of ids. */
  readonly #entries: Entry[] = []
  /** Key → id of the one entry that has it. */
  readonly #keys = new Map<string, number>()
  /** The newest MAX_GONE removed entries by id, in the order of their removal. */
  readonly #gone = new Map<number, Buried>()
  #trimmedTo = 0
  #last = 0

  /** The id of the newest trimmed entry; 0: none. Entries removed on purpose do not count. */
  get trimmedTo (): number { return this.#trimmedTo }
  /** The id of the newest entry that was ever appended. */
  get last (): number { return this.#last }

  /** Appends an entry, removes the one with the same key, and now and then trims the log to `length`. */
  append (entry: Entry, length: number): void {
    if (entry.key !== undefined) {
      const older = this.#keys.get(entry.key)
      if (older !== undefined) this.#takeOut(older, { state: 'replaced', at: entry.id })
      this.#keys.set(entry.key, entry.id)
    }
    this.#entries.push(entry)
    this.#last = entry.id
    if (this.#entries.length < length + TRIM_STEP) return
    for (const { id, key } of this.#entries.splice(0, this.#entries.length - length)) {
      this.#trimmedTo = id
      if (key !== undefined) this.#keys.delete(key) // no newer entry has it: that would have taken this one's place
    }
  }

  get (id: number): Entry | undefined {
    const entry = this.#entries[this.#indexAfter(id) - 1]
    return entry?.id === id ? entry : undefined
  }

  /** The entry with this key. */
  withKey (key: string): Entry | undefined {
    const id = this.#keys.get(key)
    return id === undefined ? undefined : this.get(id)
  }

  /** Removes an entry on purpose, which is no gap. */
  retract ({ id, key }: Entry, at: number): void {
    this.#takeOut(id, { state: 'retracted', at })
    if (key !== undefined) this.#keys.delete(key)
  }

  #takeOut (id: number, buried: Buried): void {
    const at = this.#indexAfter(id) - 1
    if (this.#entries[at]?.id !== id) return
    this.#entries.splice(at, 1)
    this.#gone.set(id, buried)
    if (this.#gone.size > MAX_GONE) this.#gone.delete(this.#gone.keys().next().value!)
  }

  /** Why an entry was removed, if that is remembered. */
  buried (id: number): Buried | undefined {
    return this.#gone.get(id)
  }

  /** Whether more entries were removed after this id than are remembered. */
  isForgetful (id: number): boolean {
    const [oldest] = this.#gone.values()
    return this.#gone.size >= MAX_GONE && oldest!.at > id
  }

  /** Entries with after < id ≤ upTo, oldest first. */
  * between (after: number, upTo = Infinity): Generator<Entry, void> {
    for (let i = this.#indexAfter(after); i < this.#entries.length; i++) {
      const entry = this.#entries[i]!
      if (entry.id > upTo) return
      yield entry
    }
  }

  /** Entries with after < id < before, newest first. */
  * backwards (after: number, before = Infinity): Generator<Entry, void> {
    for (let i = this.#indexAfter(before - 1) - 1; i >= 0; i--) {
      const entry = this.#entries[i]!
      if (entry.id <= after) return
      yield entry
    }
  }

  /** The index of the first entry that is newer than a position. */
  #indexAfter (position: number): number {
    let low = 0
    let high = this.#entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#entries[middle]!.id > position) high = middle
      else low = middle + 1
    }
    return low
  }
}
