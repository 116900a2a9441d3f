// The Prometheus metrics of a node, read from the hub's plain counters when they are asked for.
import type { Broker } from '../broker/broker.ts'
import type { Hub } from '../hub/hub.ts'
import type { LogCounts } from '../log.ts'
import { errorTable } from '../errors.ts'
import { version } from '../version.ts'
import type { Refusals } from './refusals.ts'
import { Metrics } from './registry.ts'

/** Each code is there before it happens: what appears out of nothing, Prometheus does not count. */
const none = Object.fromEntries(Object.keys(errorTable).map((code) => [code, 0]))

export function metrics ({ hub, broker, refusals, nodeName, logCounts }: { hub: Hub, broker: Broker, refusals: Refusals, nodeName: string, logCounts: Readonly<LogCounts> }): Metrics {
  const metrics = new Metrics(nodeName)
  const gauge = metrics.gauge.bind(metrics)
  const counter = metrics.counter.bind(metrics)

  const { stats } = hub
  gauge('tidings_build_info', 'Always 1; the version that runs', () => ({ [version]: 1 }), 'version')
  gauge('tidings_streams', 'Open streams', () => hub.streams)
  gauge('tidings_users', 'Users with an open stream', () => hub.users)
  gauge('tidings_channels', 'Channels that this node is subscribed to', () => hub.channels)
  gauge('tidings_broker_up', '1 if publishing and hearing both work (Redis, or the embedded broker)', () => broker.state().up ? 1 : 0)
  // Prometheus wants "_total" at the end of what only grows. The name without it is the one that was published first,
  // and stays, as a gauge.
  gauge('tidings_pubsub_deaf_seconds', 'Time in which the node heard nothing from Redis; the same as tidings_pubsub_deaf_seconds_total', () => broker.state().deafSeconds)
  counter('tidings_pubsub_deaf_seconds_total', 'Time in which the node heard nothing from Redis', () => broker.state().deafSeconds)
  counter('tidings_published_total', 'Notifications published through this node over HTTP, one for each address', () => stats.published)
  counter('tidings_received_total', 'Notifications that arrived from the broker for a stream of this node', () => stats.received)
  counter('tidings_delivered_total', 'Notifications handed to live streams, one for each stream', () => stats.delivered)
  counter('tidings_replayed_total', 'Notifications written from the logs', () => stats.replayed)
  counter('tidings_dropped_total', 'Channel messages dropped, by reason', () => stats.dropped, 'reason')
  counter('tidings_streams_opened_total', 'Streams opened', () => stats.opened)
  counter('tidings_streams_ended_total', 'Streams ended, by reason', () => stats.ended, 'reason')
  counter('tidings_refused_total', 'Requests refused, and streams told to come back later, by error code', () => ({ ...none, ...refusals.counts }), 'code')
  counter('tidings_log_write_errors_total', 'Writes of the log that failed; while it grows, there is no log', () => logCounts.failedWrites)
  counter('tidings_log_lines_lost_total', 'Log lines that could not be kept any longer and are lost', () => logCounts.lostLines)
  stats.onLatency = metrics.histogram(
    'tidings_publish_to_write_seconds',
    'From publishing (the id) to the write to the streams of this node, one for each notification',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
  )
  return metrics
}
