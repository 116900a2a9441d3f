// Sends spans by OTLP, and logs when the collector is away or refuses them, which the library does not report.
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace'

export interface Log {
  readonly info: (data: object, text: string) => void
  readonly warn: (data: object, text: string) => void
}

type Done = Parameters<SpanExporter['export']>[1]

const MINUTE_MS = 60_000

export class ToldExporter implements SpanExporter {
  readonly #exporter = new OTLPTraceExporter()
  readonly #log: Log
  #loggedAtMs = -Infinity
  /** Spans lost since the last log line. */
  #lost = 0

  constructor (log: Log) {
    this.#log = log
  }

  export (spans: ReadableSpan[], done: Done): void {
    this.#exporter.export(spans, (result) => {
      if (result.error === undefined) this.#sent()
      else this.#failed(spans.length, result.error)
      done(result)
    })
  }

  #sent (): void {
    if (this.#loggedAtMs === -Infinity) return
    this.#log.info({ lost: this.#lost }, 'traces are sent again')
    this.#loggedAtMs = -Infinity
    this.#lost = 0
  }

  #failed (count: number, { message }: Error): void {
    this.#lost += count
    if (performance.now() - this.#loggedAtMs < MINUTE_MS) return
    this.#log.warn({ reason: message.slice(0, 200), lost: this.#lost }, 'traces cannot be sent; check OTEL_EXPORTER_OTLP_ENDPOINT (one line a minute, with the number of spans lost since the last)')
    this.#loggedAtMs = performance.now()
    this.#lost = 0
  }

  forceFlush (): Promise<void> {
    return this.#exporter.forceFlush()
  }

  shutdown (): Promise<void> {
    return this.#exporter.shutdown()
  }
}
