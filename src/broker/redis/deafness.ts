// Measures for how long in total nothing was heard. It starts deaf, until `end`.
export class Deafness {
  #sinceMs: number | undefined = performance.now()
  #sumMs = 0

  begin (): void {
    this.#sinceMs ??= performance.now()
  }

  end (): void {
    this.#sumMs += this.#nowMs
    this.#sinceMs = undefined
  }

  get #nowMs (): number {
    return this.#sinceMs === undefined ? 0 : performance.now() - this.#sinceMs
  }

  get seconds (): number {
    return (this.#sumMs + this.#nowMs) / 1000
  }
}
