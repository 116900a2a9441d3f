// The Prometheus metrics of a node, read at each scrape from plain counters of the hub, the broker and others.
import type { ChannelListener } from 'node:diagnostics_channel'
import type { Broker } from '../broker/broker.ts'
import { errorTable } from '../errors.ts'
import type { Hub } from '../hub/hub.ts'
import type { LogCounts } from '../log.ts'
import { deliveries, type DeliverTrace, type Node } from '../tracing.ts'
import { version } from '../version.ts'
import type { PublishCounts } from './publish.ts'
import type { Refusals } from './refusals.ts'
import { Metrics } from './registry.ts'

/** All codes start at 0, because Prometheus does not count the first increase of a series that did not exist. */
const none = Object.fromEntries(Object.keys(errorTable).map((code) => [code, 0]))

export interface MetricsOptions {
  readonly hub: Hub
  readonly broker: Broker
  readonly refusals: Refusals
  readonly node: Node
  readonly logCounts: Readonly<LogCounts>
  readonly publishCounts: Readonly<PublishCounts>
}

/** Registers the metrics and subscribes to a diagnostics channel. `close` unsubscribes. */
export function metrics ({ hub, broker, refusals, node, logCounts, publishCounts }: MetricsOptions): { prometheus: Metrics, close: () => void } {
  const prometheus = new Metrics(node.name)
  const gauge = prometheus.gauge.bind(prometheus)
  const counter = prometheus.counter.bind(prometheus)

  const { stats } = hub
  gauge('tidings_build_info', 'Always 1; the version that runs', () => ({ [version]: 1 }), 'version')
  gauge('tidings_streams', 'Open streams', () => hub.streams)
  gauge('tidings_streams_waiting', 'Streams that are open and silent, because they wait for the broker', () => hub.waiting)
  gauge('tidings_slow_streams', 'Streams whose clients have not read everything yet', () => hub.unsent().streams)
  gauge('tidings_buffered_bytes', 'Bytes that clients have not read yet', () => hub.unsent().bytes)
  gauge('tidings_buffered_bytes_max', 'The most bytes that one client has not read yet', () => hub.unsent().most)
  gauge('tidings_gathered_streams', 'Streams that collect messages for their next write, for COALESCE_MS or, if writing takes long, up to 50 ms', () => hub.gathered)
  gauge('tidings_users', 'Users with an open stream', () => hub.users)
  gauge('tidings_channels', 'Channels that this node is subscribed to', () => hub.channels)
  gauge('tidings_broker_up', '1 if publishing and receiving both work', () => broker.state().up ? 1 : 0)
  const partitionsUp = (): Record<string, number> => Object.fromEntries((broker.state().partitions ?? []).map(({ up }, i) => [i, up ? 1 : 0]))
  gauge('tidings_partition_up', 'The same for each partition, if there are several', partitionsUp, 'partition')
  // Counters should end in "_total". The older name without it stays as a gauge, so that existing dashboards go on
  // working.
  gauge('tidings_pubsub_deaf_seconds', 'Time in which the node received nothing from other nodes; the same as tidings_pubsub_deaf_seconds_total', () => broker.state().deafSeconds)
  counter('tidings_pubsub_deaf_seconds_total', 'Time in which the node received nothing from other nodes', () => broker.state().deafSeconds)
  gauge('tidings_broker_warnings', 'Things that work now but are not reliable; /readyz has a sentence for each', () => broker.state().warnings.length)
  gauge('tidings_clock_difference_seconds', 'How far the clock of this node is ahead of that of the broker', () => broker.state().clockDifferenceSeconds)
  for (const meter of broker.meters) prometheus.add(meter)
  counter('tidings_published_total', 'Notifications published through this node over HTTP, one for each address', () => publishCounts.published)
  counter('tidings_received_total', 'Notifications that arrived from the broker for a stream of this node', () => stats.received)
  counter('tidings_delivered_total', 'Notifications handed to live streams, one for each stream', () => stats.delivered)
  counter('tidings_replayed_total', 'Notifications written from the logs', () => stats.replayed)
  counter('tidings_dropped_total', 'Channel messages dropped, by reason', () => stats.dropped, 'reason')
  counter('tidings_streams_opened_total', 'Streams opened', () => stats.opened)
  counter('tidings_streams_ended_total', 'Streams ended, by reason', () => stats.ended, 'reason')
  counter('tidings_syncs_total', 'Events sync, by what they said: a stream became live, or something is missing', () => stats.syncs, 'resume')
  counter('tidings_refills_total', 'Live streams filled again from the logs, after a join, a leave or a broken connection', () => stats.refilled)
  counter('tidings_refused_total', 'Requests refused, and streams told to come back later, by error code', () => ({ ...none, ...refusals.counts }), 'code')
  counter('tidings_token_failures_total', 'Tokens that were refused, by reason', () => refusals.tokens, 'reason')
  counter('tidings_ticket_failures_total', 'Tickets that were refused, by reason', () => refusals.tickets, 'reason')
  counter('tidings_log_write_errors_total', 'Log writes that failed; while it grows, there is no log', () => logCounts.failedWrites)
  counter('tidings_log_lines_lost_total', 'Log lines that are lost', () => logCounts.lostLines)
  const latency = prometheus.histogram(
    'tidings_publish_to_write_seconds',
    'Time from publishing (the id) until the write to the streams of this node, once for each notification',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
  )
  const onDelivered = latencyObserver(latency, { broker, node })
  deliveries.asyncEnd.subscribe(onDelivered as ChannelListener)
  return {
    prometheus,
    close: () => { deliveries.asyncEnd.unsubscribe(onDelivered as ChannelListener) }
  }
}

/**
 * Ids come from the broker's clock, so the latency is measured with that clock. Its offset is looked up once a second:
 * it changes slowly, and a Date for each delivery would be an object.
 */
function latencyObserver (
  observe: ReturnType<Metrics['histogram']>, { broker, node }: Pick<MetricsOptions, 'broker' | 'node'>
): (delivery: DeliverTrace) => void {
  let brokerSeconds = 0.5
  let atMs = -Infinity
  return ({ node: by, notification: { id, traceparent }, writtenAtMs }) => {
    if (by !== node || id === 0) return
    if (writtenAtMs - atMs > 1000) {
      brokerSeconds = Date.now() / 1000 - broker.state().clockDifferenceSeconds
      atMs = writtenAtMs
    }
    observe(Math.max(0, brokerSeconds + (writtenAtMs - atMs) / 1000 - id / 1_000_000), traceparent)
  }
}
