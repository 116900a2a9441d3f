// Where spans go: out by OTLP. A collector that is away, or wants others than us, is told in the log; the library tells
// nobody.
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
  #toldAtMs = -Infinity
  /** Since the last line. */
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
    if (this.#toldAtMs === -Infinity) return
    this.#log.info({ lost: this.#lost }, 'traces are sent again')
    this.#toldAtMs = -Infinity
    this.#lost = 0
  }

  #failed (count: number, { message }: Error): void {
    this.#lost += count
    if (performance.now() - this.#toldAtMs < MINUTE_MS) return
    this.#log.warn({ reason: message.slice(0, 200), lost: this.#lost }, 'traces cannot be sent; check OTEL_EXPORTER_OTLP_ENDPOINT (one line a minute, with the number of spans lost since the last)')
    this.#toldAtMs = performance.now()
    this.#lost = 0
  }

  forceFlush (): Promise<void> {
    return this.#exporter.forceFlush()
  }

  shutdown (): Promise<void> {
    return this.#exporter.shutdown()
  }
}
