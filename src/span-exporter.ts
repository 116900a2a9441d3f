// Sends spans by OTLP, and logs when the collector is away, refuses them or is too slow, which the library does not
// report.
import { TraceFlags } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import type { ReadableSpan, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace'

export interface Log {
  readonly info: (data: object, text: string) => void
  readonly warn: (data: object, text: string) => void
}

type Done = Parameters<SpanExporter['export']>[1]

const MINUTE_MS = 60_000

export class ToldExporter implements SpanExporter {
  readonly #exporter = new OTLPTraceExporter()
  readonly #log: Log
  readonly #queueLength: number
  /** Spans that have ended and are not in the hands of the exporter yet; the same number as in the library's queue. */
  #queued = 0
  #warnedAtMs = -Infinity
  /** The last line says that spans are lost. */
  #isTold = false
  /** Spans lost since the last log line. */
  #lost = 0

  /** `queueLength`: the library drops spans, without a word, while as many wait for a collector that is slow. */
  constructor (log: Log, queueLength: number) {
    this.#log = log
    this.#queueLength = queueLength
  }

  /** Must come before the library's processor: counts what that one drops. */
  get counter (): SpanProcessor {
    const nothing = async (): Promise<void> => {}
    return {
      onStart: () => {},
      onEnd: (span) => {
        if ((span.spanContext().traceFlags & TraceFlags.SAMPLED) === 0) return
        if (this.#queued < this.#queueLength) this.#queued++
        else this.#failed(1, 'the collector takes spans more slowly than they come, and OTEL_BSP_MAX_QUEUE_SIZE of them wait')
      },
      forceFlush: nothing,
      shutdown: nothing
    }
  }

  export (spans: ReadableSpan[], done: Done): void {
    this.#queued -= spans.length
    this.#exporter.export(spans, (result) => {
      if (result.error === undefined) this.#sent()
      else this.#failed(spans.length, result.error.message)
      done(result)
    })
  }

  #sent (): void {
    // A collector that refuses every second batch would otherwise cost two lines for each.
    if (!this.#isTold) return
    this.#log.info({ lost: this.#lost }, 'traces are sent again')
    this.#isTold = false
    this.#lost = 0
  }

  #failed (count: number, reason: string): void {
    this.#lost += count
    if (performance.now() - this.#warnedAtMs < MINUTE_MS) return
    this.#log.warn({ reason: reason.slice(0, 200), lost: this.#lost }, 'traces cannot be sent; check OTEL_EXPORTER_OTLP_ENDPOINT (one line a minute, with the number of spans lost since the last)')
    this.#warnedAtMs = performance.now()
    this.#isTold = true
    this.#lost = 0
  }

  forceFlush (): Promise<void> {
    return this.#exporter.forceFlush()
  }

  shutdown (): Promise<void> {
    return this.#exporter.shutdown()
  }
}
