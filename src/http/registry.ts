// Prometheus' text, in both of its forms, from plain numbers that are read when they are asked for.
import { collectDefaultMetrics, Counter, Gauge, type Metric, Registry } from 'prom-client'
import { type Meter, type Reading, Spread } from '../broker/meters.ts'
import { Exemplars } from './exemplars.ts'

/** Of prom-client's own: gauges whose names say that they are counters, and that `nodejs_active_…` counts as well. */
const ILL_NAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

export class Metrics {
  readonly #plain = new Registry()
  /** Those with exemplars, which prom-client keeps for OpenMetrics alone. */
  readonly #exemplified = new Registry()

  constructor (nodeName: string) {
    this.#exemplified.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never)
    for (const registry of [this.#plain, this.#exemplified]) registry.setDefaultLabels({ node: nodeName })
    collectDefaultMetrics({ register: this.#plain })
    for (const name of ILL_NAMED) this.#plain.removeSingleMetric(name)
  }

  gauge (name: string, help: string, read: () => Reading, label?: string): void {
    const metric: Gauge = new Gauge({
      name,
      help,
      registers: [this.#plain],
      labelNames: label === undefined ? [] : [label],
      collect: () => { each(read(), label, (labels, value) => { metric.set(labels, value) }) }
    })
  }

  /** Of numbers that are kept elsewhere and only grow: set, not added to. */
  counter (name: string, help: string, read: () => Reading, label?: string): void {
    const metric: Counter = new Counter({
      name,
      help,
      registers: [this.#plain],
      labelNames: label === undefined ? [] : [label],
      collect: () => {
        metric.reset()
        each(read(), label, (labels, value) => { metric.inc(labels, value) })
      }
    })
  }

  /**
   * Returns what is told each value (seconds) and, if there is one, the `traceparent` that it belongs to. Numbers are
   * added to numbers: prom-client's own would make several objects for each.
   */
  histogram (name: string, help: string, bounds: readonly number[]): (value: number, traceparent?: string) => void {
    const spread = new Spread(bounds)
    const exemplars = new Exemplars(bounds.length + 1)
    this.#spread(this.#exemplified, name, help, spread, exemplars)
    return (value, traceparent) => {
      const at = spread.add(value)
      if (traceparent !== undefined) exemplars.keep(at, value, traceparent)
    }
  }

  /** What somebody else tells of themselves. */
  add (meter: Meter): void {
    const { name, help } = meter
    switch (meter.kind) {
      case 'gauge': return this.gauge(name, help, meter.read, meter.label)
      case 'counter': return this.counter(name, help, meter.read, meter.label)
      case 'histogram': return this.#spread(this.#plain, name, help, meter.spread)
    }
  }

  /** A histogram that is kept elsewhere. prom-client asks of a metric no more than this. */
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

  /** What a client that accepts this is answered: OpenMetrics if it names it, else Prometheus' older form. */
  async text (accept = ''): Promise<{ type: string, body: string }> {
    const [plain, exemplified] = await Promise.all([this.#plain.metrics(), this.#exemplified.metrics()])
    if (accept.includes('application/openmetrics-text')) {
      // By hand: prom-client would rename the counters themselves, and the older form would lose "_total" for ever.
      const open = plain.replaceAll(/^# (HELP|TYPE) (\S+)_total /gm, '# $1 $2 ').replaceAll('\n\n', '\n')
      return { type: this.#exemplified.contentType, body: open + exemplified }
    }
    return { type: this.#plain.contentType, body: plain + exemplified.replaceAll(/ # \{.*$/gm, '').replace(/# EOF\n$/, '') }
  }
}

function each (reading: Reading, label: string | undefined, say: (labels: Record<string, string>, value: number) => void): void {
  if (typeof reading === 'number') say({}, reading)
  else for (const [value, count] of Object.entries(reading)) say({ [label!]: value }, count)
}
