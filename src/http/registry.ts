// Prometheus metrics as text, in both formats, from plain numbers that are read at each scrape.
import { collectDefaultMetrics, Counter, Gauge, type Metric, Registry } from 'prom-client'
import { type Meter, type Reading, Spread } from '../broker/meters.ts'
import { isSampled } from '../trace-context.ts'
import { Exemplars } from './exemplars.ts'

/** Default metrics of prom-client that are left out: gauges named like counters. `nodejs_active_…` shows the same. */
const ILL_NAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

export class Metrics {
  readonly #plain = new Registry()
  /** Metrics with exemplars. prom-client allows these in OpenMetrics registries only. */
  readonly #exemplified = new Registry()

  constructor (nodeName: string) {
    this.#exemplified.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never)
    for (const registry of [this.#plain, this.#exemplified]) registry.setDefaultLabels({ node: nodeName })
    collectDefaultMetrics({ register: this.#plain })
    for (const name of ILL_NAMED) this.#plain.removeSingleMetric(name)
  }

  gauge (name: string, help: string, read: () => Reading, label?: string): void {
    const metric: Gauge = new Gauge({
      ...this.#described(name, help, label),
      collect: () => { each(read(), label, (labels, value) => { metric.set(labels, value) }) }
    })
  }

  /** A counter whose value is kept elsewhere: each scrape sets it anew. */
  counter (name: string, help: string, read: () => Reading, label?: string): void {
    const metric: Counter = new Counter({
      ...this.#described(name, help, label),
      collect: () => {
        metric.reset()
        each(read(), label, (labels, value) => { metric.inc(labels, value) })
      }
    })
  }

  #described (name: string, help: string, label: string | undefined) {
    return { name, help, registers: [this.#plain], labelNames: label === undefined ? [] : [label] }
  }

  /**
   * Returns a function that records a value in seconds and, if known, its `traceparent`. It only adds to numbers;
   * prom-client's own histogram would make several objects for each value.
   */
  histogram (name: string, help: string, bounds: readonly number[]): (value: number, traceparent?: string) => void {
    const spread = new Spread(bounds)
    const exemplars = new Exemplars(bounds.length + 1)
    this.#spread(this.#exemplified, name, help, spread, exemplars)
    return (value, traceparent) => {
      const at = spread.add(value)
      // A trace that is not recorded would lead nowhere, and take the place of one that is.
      if (traceparent !== undefined && isSampled(traceparent)) exemplars.keep(at, value, traceparent)
    }
  }

  /** Adds a metric that another module describes. */
  add (meter: Meter): void {
    const { name, help } = meter
    switch (meter.kind) {
      case 'gauge': return this.gauge(name, help, meter.read, meter.label)
      case 'counter': return this.counter(name, help, meter.read, meter.label)
      case 'histogram': return this.#spread(this.#plain, name, help, meter.spread)
    }
  }

  /** Adds a histogram that is kept elsewhere. prom-client needs only `name` and `get` of a metric. */
  #spread (registry: Registry, name: string, help: string, spread: Spread, exemplars?: Exemplars): void {
    const get = async (): Promise<object> => {
      const totals = spread.totals()
      const count = totals.at(-1)
      return {
        name,
        help,
        type: 'histogram',
        aggregator: 'sum',
        values: [
          ...[...spread.bounds, '+Inf'].map((le, i) => ({ metricName: `${name}_bucket`, labels: { le }, value: totals[i], exemplar: exemplars?.of(i) })),
          { metricName: `${name}_sum`, labels: {}, value: spread.sum },
          { metricName: `${name}_count`, labels: {}, value: count }
        ]
      }
    }
    registry.registerMetric({ name, get } as unknown as Metric)
  }

  /** The text for a client with this Accept header: OpenMetrics if it names that format, else the older text format. */
  async text (accept = ''): Promise<{ type: string, body: string }> {
    const [plain, exemplified] = await Promise.all([this.#plain.metrics(), this.#exemplified.metrics()])
    if (accept.includes('application/openmetrics-text')) {
      return { type: this.#exemplified.contentType, body: openMetrics(plain) + exemplified }
    }
    return { type: this.#plain.contentType, body: plain + exemplified.replaceAll(/ # \{.*$/gm, '').replace(/# EOF\n$/, '') }
  }
}

/**
 * Counters are renamed here in the text, as OpenMetrics wants it. prom-client would rename the metrics themselves, and
 * the older format would lose "_total" from then on. A name must be unique there, so a counter beside a gauge of the
 * same name has no kind.
 */
function openMetrics (plain: string): string {
  const names = new Set(Array.from(plain.matchAll(/^# TYPE (\S+) /gm), ([, name]) => name))
  return plain
    .replaceAll(/^# (HELP|TYPE) (\S+)_total (.*)$/gm, (line, what: string, name: string, rest: string) => {
      if (!names.has(name)) return `# ${what} ${name} ${rest}`
      return what === 'TYPE' ? `# TYPE ${name}_total unknown` : line
    })
    .replaceAll('\n\n', '\n')
}

function each (reading: Reading, label: string | undefined, say: (labels: Record<string, string>, value: number) => void): void {
  if (typeof reading === 'number') say({}, reading)
  else for (const [value, count] of Object.entries(reading)) say({ [label!]: value }, count)
}
