// The Prometheus metrics of a node, read from the hub's plain counters when they are asked for.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Broker } from '../broker/broker.ts'
import type { Hub } from '../hub/hub.ts'
import type { LogCounts } from '../log.ts'

export function metrics ({ hub, broker, nodeName, logCounts }: { hub: Hub, broker: Broker, nodeName: string, logCounts: Readonly<LogCounts> }): Registry {
  const registry = new Registry()
  registry.setDefaultLabels({ node: nodeName })
  collectDefaultMetrics({ register: registry })
  const registers = [registry]

  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({ name, help, registers, collect () { this.set(read()) } }) // eslint-disable-line no-new
  }
  // Counters that the hub keeps as plain numbers: set, not added to.
  const counter = (name: string, help: string, read: () => number | Record<string, number>): void => {
    new Counter({ // eslint-disable-line no-new
      name,
      help,
      registers,
      labelNames: typeof read() === 'number' ? [] : ['reason'],
      collect () {
        this.reset()
        const value = read()
        if (typeof value === 'number') this.inc(value)
        else for (const [reason, count] of Object.entries(value)) this.inc({ reason }, count)
      }
    })
  }

  const { stats } = hub
  gauge('tidings_streams', 'Open streams', () => hub.streams)
  gauge('tidings_users', 'Users with an open stream', () => hub.users)
  gauge('tidings_channels', 'Channels that this node is subscribed to', () => hub.channels)
  gauge('tidings_broker_up', '1 if publishing and hearing both work (Redis, or the embedded broker)', () => broker.state().up ? 1 : 0)
  counter('tidings_pubsub_deaf_seconds', 'Time in which the node heard nothing from Redis', () => broker.state().deafSeconds)
  counter('tidings_published_total', 'Notifications published through this node over HTTP, one for each address', () => stats.published)
  counter('tidings_received_total', 'Notifications that arrived from the broker for a stream of this node', () => stats.received)
  counter('tidings_delivered_total', 'Notifications handed to live streams, one for each stream', () => stats.delivered)
  counter('tidings_replayed_total', 'Notifications written from the logs', () => stats.replayed)
  counter('tidings_dropped_total', 'Channel messages dropped, by reason', () => stats.dropped)
  counter('tidings_streams_opened_total', 'Streams opened', () => stats.opened)
  counter('tidings_streams_ended_total', 'Streams ended, by reason', () => stats.ended)
  counter('tidings_log_write_errors_total', 'Writes of the log that failed; while it grows, there is no log', () => logCounts.failedWrites)
  counter('tidings_log_lines_lost_total', 'Log lines that could not be kept any longer and are lost', () => logCounts.lostLines)
  const latency = new Histogram({
    name: 'tidings_publish_to_write_seconds',
    help: 'From publishing (the id) to the write to the streams of this node, one for each notification',
    registers,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
  })
  stats.onLatency = (seconds) => { latency.observe(seconds) }
  return registry
}
