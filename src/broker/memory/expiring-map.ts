// A map whose entries expire.

export class ExpiringMap<Value> {
  readonly #entries = new Map<string, { readonly value: Value, readonly expiresAtMs: number }>()
  readonly #nowMs: () => number

  /** `nowMs`: monotonic. */
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

  /** Frees the memory of expired entries. */
  sweep (): void {
    const nowMs = this.#nowMs()
    for (const [key, { expiresAtMs }] of this.#entries) if (expiresAtMs <= nowMs) this.#entries.delete(key)
  }
}
