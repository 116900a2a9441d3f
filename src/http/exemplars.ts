// Keeps for each bucket of a histogram the trace that was counted in it last. All memory is allocated at the start.
import { traceIdOf } from '../trace-context.ts'

/** An exemplar as prom-client expects it. */
export interface Exemplar {
  readonly labelSet: { readonly trace_id: string }
  readonly value: number
  /** Seconds since 1970. */
  readonly timestamp: number
}

export class Exemplars {
  readonly #traceparents: Array<string | undefined>
  readonly #values: Float64Array
  readonly #wallMs: Float64Array

  constructor (buckets: number) {
    this.#traceparents = Array.from({ length: buckets }, () => undefined)
    this.#values = new Float64Array(buckets)
    this.#wallMs = new Float64Array(buckets)
  }

  keep (bucket: number, value: number, traceparent: string): void {
    this.#traceparents[bucket] = traceparent
    this.#values[bucket] = value
    this.#wallMs[bucket] = Date.now()
  }

  of (bucket: number): Exemplar | undefined {
    const traceparent = this.#traceparents[bucket]
    if (traceparent === undefined) return undefined
    return { labelSet: { trace_id: traceIdOf(traceparent) }, value: this.#values[bucket]!, timestamp: this.#wallMs[bucket]! / 1000 }
  }
}
