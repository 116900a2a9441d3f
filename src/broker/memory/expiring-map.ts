// A map that forgets: each entry is gone after its time.

export class ExpiringMap<Value> {
  readonly #entries = new Map<string, { readonly value: Value, readonly expiresAtMs: number }>()
  readonly #nowMs: () => number

  /** `nowMs`: of a clock that never steps. */
  constructor (nowMs: () => number) {
    this.#nowMs = nowMs
  }

  get (key: string): Value | undefined {
    const entry = this.#entries.get(key)
    return entry !== undefined && entry.expiresAtMs > this.#nowMs() ? entry.value : undefined
  }

  set (key: string, value: Value, lifeMs: number): void {
    this.#entries.set(key, { value, expiresAtMs: this.#nowMs() + lifeMs })
  }

  delete (key: string): void {
    this.#entries.delete(key)
  }

  /** Frees the memory of what is gone. */
  sweep (): void {
    const nowMs = this.#nowMs()
    for (const [key, { expiresAtMs }] of this.#entries) if (expiresAtMs <= nowMs) this.#entries.delete(key)
  }
}
