// What log lines say of their request.
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { parseTraceparent, traceIdOf } from '../trace-context.ts'

/**
 * Fastify makes a child logger for each request, so that its lines carry the request's id. That took 4 % of the cost of
 * a publish, and hardly a request has a line. So all requests share this logger, and a line calls `requestOf`.
 */
export function withoutChildren (logger: FastifyBaseLogger): FastifyBaseLogger {
  const shared = Object.create(logger) as FastifyBaseLogger
  shared.child = () => shared
  return shared
}

/** The members of a log line by which it is found: the request's id and, if it has a `traceparent`, its trace's. */
export function requestOf ({ id, headers }: FastifyRequest): { readonly reqId: string, readonly trace_id?: string } {
  const traceparent = parseTraceparent(headers.traceparent)
  return traceparent === undefined ? { reqId: id } : { reqId: id, trace_id: traceIdOf(traceparent) }
}
