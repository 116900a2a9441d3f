// What the log says of spans that are lost, with collectors that are slow, or refuse now and then.
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import t from 'tap'
import { ToldExporter } from '../src/span-exporter.ts'
import { Signal, type Scope } from './fixtures/wait.ts'

/** A collector that answers when the test says so, the log of a node beside it, and a way to make spans. */
async function world (t: Scope, { queueLength, batchLength }: { queueLength: number, batchLength: number }) {
  const asked: ServerResponse[] = []
  const came = new Signal()
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      asked.push(response)
      came.notify()
    })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const lines: Array<{ text: string, reason?: string, lost?: number }> = []
  const write = (data: object, text: string): void => {
    lines.push({ text: text.slice(0, 21), ...data })
    came.notify()
  }
  const exporter = new ToldExporter({ info: write, warn: write }, queueLength)
  const batches = new BatchSpanProcessor({ exporter, scheduledDelayMillis: 1, maxQueueSize: queueLength, maxExportBatchSize: batchLength })
  const tracer = new TracerProvider({ spanProcessors: [exporter.counter, batches] }).getTracer('test')
  t.teardown(() => { server.close().closeAllConnections() })
  return {
    lines,
    spans: (count: number): void => { for (let i = 0; i < count; i++) tracer.startSpan('span').end() },
    /** Answers the next request. */
    answer: async (status: number): Promise<void> => {
      const response = await came.until(() => asked.shift(), { what: 'a request to the collector' })
      response.writeHead(status).end()
    },
    /** Resolves when there are so many lines. */
    said: async (count: number): Promise<void> => { await came.until(() => lines.length >= count || undefined, { what: `${count} lines` }) },
    flush: async (): Promise<void> => { await batches.forceFlush().catch(() => {}) }
  }
}

t.test('spans, dropped because the collector takes them too slowly, are told and counted', async (t) => {
  const { spans, answer, said, flush, lines } = await world(t, { queueLength: 20, batchLength: 10 })
  // Ten go out and are not answered, twenty wait.
  spans(10)
  spans(20)
  t.same(lines, [])
  spans(7)
  t.match(lines, [{ text: 'traces cannot be sent', reason: /more slowly than they come/, lost: 1 }])
  await answer(200)
  await said(2)
  t.match(lines[1], { text: 'traces are sent again', lost: 6 })
  await answer(200)
  await answer(200)
  await flush()
  spans(20)
  t.equal(lines.length, 2, 'there is room again')
})

t.test('collector, that refuses every second batch, does not fill the log', async (t) => {
  const { spans, answer, flush, lines } = await world(t, { queueLength: 20, batchLength: 10 })
  for (let i = 0; i < 6; i++) {
    spans(1)
    const flushed = flush()
    await answer(i % 2 === 0 ? 500 : 200)
    await flushed
  }
  t.match(lines, [{ text: 'traces cannot be sent', lost: 1 }, { text: 'traces are sent again', lost: 0 }])
  t.equal(lines.length, 2)
})
