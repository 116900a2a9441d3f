// The log's destination on places that take nothing: a full disk, a reader that has gone, a pipe that nobody empties.
import { execFileSync } from 'node:child_process'
import { closeSync, constants, existsSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LogDestination } from '../src/log.ts'
import { watchCpuQueue } from './fixtures/cpu-queue.ts'
import { eventually } from './fixtures/wait.ts'

const line = (index: number): string => `{"line":${index},"text":"${'x'.repeat(1000)}"}\n`
/** Less than the half second for which an end waits for a place that is full just now. */
const NOW_MS = 400

function open (t: Test, path: string, flags: number): number {
  const fd = openSync(path, flags)
  t.teardown(() => { try { closeSync(fd) } catch {} })
  return fd
}

function startLog (t: Test, fd: number): LogDestination {
  const log = new LogDestination(fd)
  // Or it would go on with another file that has got the same number.
  t.teardown(() => { log.close() })
  return log
}

function makePipe (t: Test): string {
  const path = join(t.testdir({}), 'pipe')
  execFileSync('mkfifo', [path])
  return path
}

t.test('log, to a file, has every line in order, also what was written last', async (t) => {
  const path = join(t.testdir({}), 'log')
  const log = startLog(t, open(t, path, constants.O_WRONLY | constants.O_CREAT))
  for (let i = 0; i < 2000; i++) {
    log.write(line(i))
    if (i % 500 === 0) await new Promise(setImmediate)
  }
  t.equal(await log.settle(), true)
  log.flushSync()
  t.equal(readFileSync(path, 'utf8'), Array.from({ length: 2000 }, (_, i) => line(i)).join(''))
  t.same(log.counts, { failedWrites: 0, lostLines: 0 })
})

t.test('log, of a value with characters that end a line elsewhere, or steer a terminal: one line, and the same value', async (t) => {
  const path = join(t.testdir({}), 'log')
  const log = startLog(t, open(t, path, constants.O_WRONLY | constants.O_CREAT))
  const value = { userId: 'a\u2028{"level":60}\u2029b\u202ec\u2066d\u200e\u200f\u061c', ip: '1.2.3.4\u0085\u009b31m\u007f', plain: 'Größe ✓ 日本 \u{1f600}' }
  log.write(`${JSON.stringify(value)}\n`)
  t.equal(await log.settle(), true)
  log.flushSync()
  const text = readFileSync(path, 'utf8')
  t.equal(text.search(/[\u007f-\u009f\u2028\u2029\p{Bidi_Control}]/u), -1)
  t.equal(text.split(/[\n\r\u0085\u2028\u2029]/).length, 2)
  t.same(JSON.parse(text), value)
  t.match(text, 'Größe ✓ 日本', 'letters stay as they are')
})

t.test('log, in an idle moment, is written within a second', async (t) => {
  const path = join(t.testdir({}), 'log')
  const log = startLog(t, open(t, path, constants.O_WRONLY | constants.O_CREAT))
  log.write('{"one":1}\n')
  const startedAtMs = performance.now()
  const queueMs = watchCpuQueue()
  await eventually(async () => readFileSync(path, 'utf8'), (text) => text === '{"one":1}\n', { what: 'the line' })
  t.ok(performance.now() - startedAtMs - queueMs() < 1000)
})

t.test('log, to a full disk: counts what failed, keeps 4 MiB, loses the rest, and does not hold up the end', async (t) => {
  // Linux has a file that is always full; elsewhere a closed descriptor fails as constantly.
  const fd = existsSync('/dev/full') ? open(t, '/dev/full', constants.O_WRONLY) : 9999
  const log = startLog(t, fd)
  const startedAtMs = performance.now()
  for (let i = 0; i < 6000; i++) log.write(line(i))
  t.ok(performance.now() - startedAtMs < 2000, 'writing waits for nothing')
  await eventually(async () => log.counts.failedWrites, (failed) => failed >= 2, { what: 'a write that failed, and failed again' })
  t.ok(log.counts.lostLines > 1500 && log.counts.lostLines < 2500, `${log.counts.lostLines} of 6000 lines of 1 KB are lost`)
  t.equal(await log.settle(), true)
  const endsAtMs = performance.now()
  const queueMs = watchCpuQueue()
  log.flushSync()
  t.ok(performance.now() - endsAtMs - queueMs() < NOW_MS)
})

t.test('log, to a pipe whose reader has gone: every line is counted as lost, and nothing is tried again', async (t) => {
  const path = makePipe(t)
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const log = startLog(t, open(t, path, constants.O_WRONLY | constants.O_NONBLOCK))
  closeSync(reader)
  for (let i = 0; i < 10; i++) log.write(line(i))
  await eventually(async () => log.counts, ({ lostLines }) => lostLines === 10, { what: 'ten lost lines' })
  log.write(line(10))
  log.flushSync()
  t.same(log.counts, { failedWrites: 1, lostLines: 11 })
})

t.test('log, to a pipe that nobody empties: waits without a thread, ends in half a second, and goes on where it was', async (t) => {
  const path = makePipe(t)
  const fd = open(t, path, constants.O_RDWR | constants.O_NONBLOCK)
  const log = startLog(t, fd)
  for (let i = 0; i < 500; i++) log.write(line(i))
  t.equal(await log.settle(), true, 'no write stands')
  t.same(log.counts, { failedWrites: 0, lostLines: 0 }, 'a full pipe is no failure')
  let text = ''
  const piece = Buffer.alloc(65_536)
  await eventually(async () => {
    try {
      text += piece.toString('utf8', 0, readSync(fd, piece))
    } catch {}
    return text.length
  }, (length) => length === line(0).length * 10 + line(10).length * 90 + line(100).length * 400, { what: 'all lines, once somebody reads' })
  t.equal(text, Array.from({ length: 500 }, (_, i) => line(i)).join(''))
  for (let i = 0; i < 500; i++) log.write(line(i))
  const endsAtMs = performance.now()
  const queueMs = watchCpuQueue()
  log.flushSync()
  t.ok(performance.now() - endsAtMs - queueMs() < 2000, 'the end waits half a second')
})
