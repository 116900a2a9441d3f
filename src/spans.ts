// OpenTelemetry traces: turns the events of tracing.ts into spans. Loaded only if traces are wanted (start.ts).
//
// Names and attributes follow the semantic conventions for messaging. A publish is a `send` span, whose context travels
// in the message. Each node that writes it to streams has a `process` span, a child of that context and linked to it.
// https://opentelemetry.io/docs/specs/semconv/messaging/
import type { ChannelListener } from 'node:diagnostics_channel'
import { type Context, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace, type SpanContext, type Tracer } from '@opentelemetry/api'
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, ParentBasedSampler, TraceIdRatioBasedSampler, TracerProvider } from '@opentelemetry/sdk-trace'
import type { Broker } from './broker/broker.ts'
import type { OtelSettings } from './otel-settings.ts'
import { type Log, ToldExporter } from './span-exporter.ts'
import { deliveries, type DeliverTrace, fills, type FillTrace, type Node, publishes, type PublishTrace } from './tracing.ts'

/** How long the last spans may take to send when the node ends; less than it has after its drain (start.ts). */
const LAST_SPANS_MS = 2000

const SYSTEM = { 'messaging.system': 'tidings' }

export interface SpansOptions {
  readonly settings: OtelSettings
  readonly node: Node
  readonly version: string
  readonly log: Log
  /** `addressOf` of the node's broker. */
  readonly addressOf: Broker['addressOf']
}

/** Starts to make spans for the nodes of this process with this name. `close` sends the last ones. */
export function startSpans ({ settings, node, version, log, addressOf }: SpansOptions): { close: () => Promise<void> } {
  const provider = newProvider({ settings, node, version, log })
  const tracer = provider.getTracer('tidings', version)
  const sends = sendSpans(tracer)
  const listeners: Array<[{ subscribe: (listener: ChannelListener) => void, unsubscribe: (listener: ChannelListener) => unknown }, (event: any) => void]> = [
    [publishes.start, sends.start], [publishes.asyncEnd, sends.end], [deliveries.asyncEnd, processSpan(tracer, addressOf)], [fills, fillSpan(tracer)]
  ]
  const unsubscribers = listeners.map(([channel, listener]) => {
    const own: ChannelListener = (event) => { if ((event as { node: Node }).node.name === node.name) listener(event) }
    channel.subscribe(own)
    return () => { channel.unsubscribe(own) }
  })
  return {
    close: async () => {
      for (const end of unsubscribers) end()
      // A collector that is away or never answers must not keep the node from ending.
      const patience = Promise.withResolvers<void>()
      const timer = setTimeout(patience.resolve, LAST_SPANS_MS)
      await Promise.race([provider.shutdown().catch(() => {}), patience.promise])
      clearTimeout(timer)
    }
  }
}

function newProvider ({ settings, node, version, log }: Omit<SpansOptions, 'addressOf'>): TracerProvider {
  const { serviceName, sampler: { isParentBased, ratio }, delayMs, queueLength, batchLength } = settings
  const root = new TraceIdRatioBasedSampler(ratio)
  const own = { 'service.name': serviceName, 'service.version': version, 'service.instance.id': node.name }
  const exporter = new ToldExporter(log, queueLength)
  return new TracerProvider({
    resource: resourceFromAttributes(own).merge(detectResources({ detectors: [envDetector] })),
    sampler: isParentBased ? new ParentBasedSampler({ root }) : root,
    spanProcessors: [exporter.counter, new BatchSpanProcessor({
      exporter, scheduledDelayMillis: delayMs, maxQueueSize: queueLength, maxExportBatchSize: batchLength
    })]
  })
}

/** The span of a publish. Its context travels in the message. */
function sendSpans (tracer: Tracer): { start: (event: PublishTrace) => void, end: (event: PublishTrace) => void } {
  const sends = new WeakMap<PublishTrace, Span>()

  const start = (event: PublishTrace): void => {
    const { request: { to, key, json } } = event
    const span = tracer.startSpan(`send ${kindOf(to[0]!)}`, {
      kind: SpanKind.PRODUCER,
      attributes: {
        ...SYSTEM,
        'messaging.operation.name': 'send',
        'messaging.operation.type': 'send',
        'messaging.destination.template': kindOf(to[0]!),
        ...to.length === 1 && { 'messaging.destination.name': to[0]! },
        'messaging.batch.message_count': to.length,
        'messaging.message.body.size': Buffer.byteLength(json),
        ...key !== undefined && { 'tidings.key': key }
      }
    }, contextOf(event.traceparent))
    sends.set(event, span)
    event.traceparent = traceparentOf(span.spanContext())
  }

  const end = (event: PublishTrace): void => {
    const { result, error } = event
    const span = sends.get(event)
    if (result?.id !== undefined) span?.setAttribute('messaging.message.id', String(result.id))
    if (result !== undefined) span?.setAttribute('tidings.receivers', result.notifications.reduce((sum, { receivers }) => sum + receivers, 0))
    if (result?.replayed === true) span?.setAttribute('tidings.replayed', true)
    if (error instanceof Error) span?.setStatus({ code: SpanStatusCode.ERROR, message: error.message }).setAttribute('error.type', error.constructor.name)
    span?.end()
  }
  return { start, end }
}

/** The span of a delivery, on each node that writes to streams. */
function processSpan (tracer: Tracer, addressOf: SpansOptions['addressOf']): (event: DeliverTrace) => void {
  return ({ notification: { id, traceparent }, channel, streams, heardAtMs, writeAtMs, writtenAtMs }) => {
    if (traceparent === undefined) return
    const parent = contextOf(traceparent)
    const address = addressOf(channel)
    const startTime = dateOf(heardAtMs)
    const span = tracer.startSpan(`process ${kindOf(address)}`, {
      kind: SpanKind.CONSUMER,
      startTime,
      links: [{ context: trace.getSpanContext(parent)! }],
      attributes: {
        ...SYSTEM,
        'messaging.operation.name': 'process',
        'messaging.operation.type': 'process',
        'messaging.destination.template': kindOf(address),
        'messaging.destination.name': address,
        ...id !== 0 && { 'messaging.message.id': String(id), 'tidings.queue_ms': Math.max(0, startTime - id / 1000) },
        'tidings.coalesce_ms': writeAtMs - heardAtMs,
        'tidings.write_ms': writtenAtMs - writeAtMs,
        'tidings.streams': streams
      }
    }, parent)
    span.end(startTime + writtenAtMs - heardAtMs)
  }
}

/** The span of a stream that became live. */
function fillSpan (tracer: Tracer): (event: FillTrace) => void {
  return ({ isFirst, from, resume, replayed, startedAtMs, filledAtMs, stream, userId }) => {
    const name = !isFirst ? 'refill' : from === 'fresh' ? 'connect' : 'resume'
    const attributes = { ...SYSTEM, 'tidings.stream': stream, 'enduser.id': userId, 'tidings.resume': resume, 'tidings.replayed': replayed }
    const startTime = dateOf(startedAtMs)
    tracer.startSpan(name, { kind: SpanKind.SERVER, root: true, startTime, attributes }).end(startTime + filledAtMs - startedAtMs)
  }
}

/** The date at which `performance.now()` was 0, by the wall clock as it is set now. */
let originMs = performance.timeOrigin

/** A clock that was set, or a machine that slept, moves the origin. Date.now() counts whole milliseconds only. */
const MOVED_MS = 2

/** Turns a time of `performance.now()` into a date: that of the wall clock, as the library's own times are. */
function dateOf (ms: number): number {
  const nowMs = Date.now() - performance.now()
  if (Math.abs(nowMs - originMs) > MOVED_MS) originMs = nowMs
  return originMs + ms
}

function kindOf (address: string): string {
  return address.startsWith('user:') ? 'user' : address.startsWith('group:') ? 'group' : address
}

function contextOf (traceparent: string | undefined): Context {
  if (traceparent === undefined) return ROOT_CONTEXT
  const [, traceId, spanId, flags] = traceparent.split('-') as [string, string, string, string]
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true })
}

function traceparentOf ({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}
