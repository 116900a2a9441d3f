// What log lines say of their request.
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { parseTraceparent, traceIdOf } from '../trace-context.ts'

/**
 * Fastify makes a child logger for each request, so that its lines carry the request's id. That took 4 % of the cost of
 * a publish, and hardly a request has a line. So all requests share the one child that Fastify makes at its start, with
 * its serializers, and a line calls `requestOf`.
 */
export function withoutChildren (logger: FastifyBaseLogger): FastifyBaseLogger {
  const parent = Object.create(logger) as FastifyBaseLogger
  parent.child = (...both) => {
    const shared = logger.child(...both)
    shared.child = () => shared
    return shared
  }
  return parent
}

/** The members of a log line by which it is found: the request's id and, if it has a `traceparent`, its trace's. */
export function requestOf ({ id, headers }: FastifyRequest): { readonly reqId: string, readonly trace_id?: string } {
  const traceparent = parseTraceparent(headers.traceparent)
  return traceparent === undefined ? { reqId: id } : { reqId: id, trace_id: traceIdOf(traceparent) }
}
