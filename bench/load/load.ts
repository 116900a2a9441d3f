// The load client where no C compiler is: the same commands and answers as load.c, counted by scanning bytes for our
// payloads (tally.ts). Its limit on one core: 1,500,000 messages a second when many come in one read (0.6 µs each),
// 120,000 when each comes alone (8 µs); load.c takes 0.2 and 4 µs. Past that it measures itself: the load's own CPU is
// in every table that has a server's. And it sleeps between deliveries, which load.c does not, so that servers pay for
// waking it: its figures compare with each other only. A payload must stand whole in its chunk.
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { type Account, Tally } from './tally.ts'

const READ_BYTES = 1 << 20
const RETRY_MS = 100
const [file, payloadBytes, mode] = process.argv.slice(2)
const liveOnSync = mode === 'sync'

const EVENT_END = Buffer.from('\n\n')
const SYNC = Buffer.from('event: sync')
const ID = Buffer.from('id: ')
const PING = Buffer.from('event: ping')
const HEAD_END = Buffer.from('\r\n\r\n')

interface Stream extends Account {
  readonly index: number
  readonly port: number
  readonly request: (port: number, lastEventId: string) => string
  socket: net.Socket | undefined
  phase: 'closed' | 'connecting' | 'head' | 'body'
  isWebSocket: boolean
  isLive: boolean
  rest: Buffer | undefined
  lastEventId: string
  downMs: number
}

const streams: Stream[] = readFileSync(file!, 'utf8').split('\n').filter(Boolean).map((line, index) => {
  const [port, path, ...headers] = line.split('\t')
  return {
    index,
    port: Number(port),
    request: (to, id) => [`GET ${path} HTTP/1.1`, `Host: 127.0.0.1:${to}`, ...headers, ...id === '' ? [] : [`Last-Event-ID: ${id}`], '', ''].join('\r\n'),
    socket: undefined,
    phase: 'closed',
    isWebSocket: false,
    isLive: false,
    rest: undefined,
    last: -1,
    seen: new Uint8Array(128),
    lastEventId: '',
    downMs: 0
  }
})
const tally = new Tally(streams, Number(payloadBytes), () => { say('reached') })
const { count } = tally
let [live, failed, underWay, atOnce, nextToOpen, down, retries] = [0, 0, 0, 0, 0, 0, 0]
let state: 'still' | 'opening' | 'churning' = 'still'
let [churnLeft, churnAt, startedMs, firstDownMs] = [0, 0, 0, 0]
let follow: number[] = []
let downTimes: number[] = []
let isAskedAgain = false
let turn = 0
const shared = Buffer.allocUnsafe(READ_BYTES)

const say = (is: string, what: object = {}): void => { process.stdout.write(`${JSON.stringify({ is, ...what })}\n`) }
const since = (ms: number): number => Math.round((performance.now() - ms) * 10) / 10

function begin (stream: Stream, port: number): void {
  stream.phase = 'connecting'
  underWay++
  const socket = net.connect({
    port,
    host: '127.0.0.1',
    localAddress: `127.0.1.${2 + turn++ % 240}`,
    noDelay: true,
    onread: { buffer: shared, callback: (size, buffer) => { take(stream, (buffer as Buffer).subarray(0, size)); return true } }
  })
  stream.socket = socket
  socket.once('connect', () => {
    stream.phase = 'head'
    socket.write(stream.request(port, stream.downMs > 0 ? stream.lastEventId : ''))
  })
  socket.on('error', () => {})
  socket.once('close', () => { if (stream.socket === socket) lost(stream) })
}

function shut (stream: Stream): void {
  if (!stream.isLive) underWay--
  else live--
  const { socket } = stream
  Object.assign(stream, { socket: undefined, phase: 'closed', isLive: false, rest: undefined })
  socket?.destroy()
}

function lost (stream: Stream): void {
  const wasLive = stream.isLive
  shut(stream)
  if (wasLive) count.ended++
  if (follow.length === 0) {
    if (!wasLive) failed++
  } else if (stream.downMs === 0) {
    stream.downMs = performance.now()
    if (down++ === 0 && downTimes.length === 0) firstDownMs = stream.downMs
    begin(stream, follow[stream.index % follow.length]!)
  } else {
    retries++
    setTimeout(() => { begin(stream, follow[stream.index % follow.length]!) }, RETRY_MS)
  }
  next()
}

function wentLive (stream: Stream): void {
  stream.isLive = true
  live++
  underWay--
  if (stream.downMs > 0) {
    downTimes.push(since(stream.downMs))
    stream.downMs = 0
    down--
  }
  if (state === 'churning') shut(stream)
  next()
}

function next (): void {
  if (state === 'opening') {
    while (nextToOpen < streams.length && underWay < atOnce) begin(streams[nextToOpen]!, streams[nextToOpen++]!.port)
    if (nextToOpen === streams.length && underWay === 0) {
      state = 'still'
      say('open', { live, failed, ms: since(startedMs) })
    }
  } else if (state === 'churning') {
    while (churnLeft > 0 && underWay < atOnce && streams[churnAt]!.phase === 'closed') {
      churnLeft--
      begin(streams[churnAt]!, streams[churnAt]!.port)
      churnAt = (churnAt + 1) % streams.length
    }
    if (churnLeft === 0 && underWay === 0) {
      state = 'still'
      say('churned', { failed, ms: since(startedMs) })
    }
  }
  if (isAskedAgain && down === 0) {
    isAskedAgain = false
    downTimes.sort((a, b) => a - b)
    const at = (share: number): number => downTimes[Math.floor(downTimes.length * share)] ?? 0
    say('again', { streams: downTimes.length, ms: downTimes.length > 0 ? since(firstDownMs) : 0, p50: at(0.5), p99: at(0.99), retries })
  }
}

function take (stream: Stream, fresh: Buffer): void {
  count.bytes += fresh.length
  let bytes = stream.rest === undefined ? fresh : Buffer.concat([stream.rest, fresh])
  stream.rest = undefined
  if (stream.phase === 'head') {
    const end = bytes.indexOf(HEAD_END)
    if (end === -1) {
      stream.rest = Buffer.from(bytes)
      return
    }
    const status = bytes.toString('latin1', 9, 12)
    if (status !== '200' && status !== '101') {
      count.refused++
      stream.socket!.destroy()
      return
    }
    stream.phase = 'body'
    stream.isWebSocket = status === '101'
    bytes = bytes.subarray(end + 4)
    if (!liveOnSync && !stream.isWebSocket) wentLive(stream)
  }
  if (stream.phase !== 'body') return
  const used = stream.isWebSocket ? webSocket(stream, bytes) : events(stream, bytes)
  if (used < bytes.length) stream.rest = Buffer.from(bytes.subarray(used))
}

/** Whole events only; returns how far they go. */
function events (stream: Stream, bytes: Buffer): number {
  let used = 0
  for (let end = bytes.indexOf(EVENT_END); end !== -1; end = bytes.indexOf(EVENT_END, used)) {
    if (!tally.take(stream, bytes, used, end)) {
      const event = bytes.subarray(used, end)
      if (event.includes(SYNC)) {
        count.syncs++
        if (event.includes('"incomplete"')) count.incomplete++
        if (liveOnSync && !stream.isLive) wentLive(stream)
      } else if (event.includes(PING)) count.pings++
    }
    used = end + 2
  }
  // The last one of all whole events, looked for once a read.
  const id = liveOnSync ? bytes.subarray(0, used).lastIndexOf(ID) : -1
  if (id !== -1) stream.lastEventId = bytes.toString('latin1', id + ID.length, bytes.indexOf(10, id))
  return used
}

function webSocket (stream: Stream, bytes: Buffer): number {
  let used = 0
  while (bytes.length - used >= 2) {
    const short = bytes[used + 1]! & 127
    const skip = short === 126 ? 4 : short === 127 ? 10 : 2
    if (bytes.length - used < skip) break
    const size = short === 126 ? bytes.readUInt16BE(used + 2) : short === 127 ? Number(bytes.readBigUInt64BE(used + 2)) : short
    if (bytes.length - used < skip + size) break
    const at = used + skip
    used = at + size
    if (!tally.take(stream, bytes, at, used)) {
      const text = bytes.toString('latin1', at, used)
      if (text.startsWith('40')) wentLive(stream)
      else if (text.startsWith('0')) stream.socket!.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x34, 0x30]))
      else if (text === '2') {
        count.pings++
        stream.socket!.write(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x33]))
      }
    }
  }
  return used
}

function command (line: string): void {
  const [word, ...rest] = line.split(' ')
  const [a = 0, b = 0] = rest.map(Number)
  startedMs = performance.now()
  if (word === 'open') [state, atOnce] = ['opening', a]
  else if (word === 'churn') [state, churnLeft, atOnce, failed] = ['churning', a, b, 0]
  else if (word === 'again') isAskedAgain = true
  else if (word === 'follow') [follow, downTimes] = [rest.map(Number), []]
  else if (word === 'report') say('report', { streams: streams.length, live, ...tally.report(a, b) })
  else if (word === 'reset') {
    tally.forget()
    say('reset')
  } else if (word === 'reach') tally.reach(a)
  else if (word === 'close') {
    follow = []
    for (const stream of streams) if (stream.phase !== 'closed') shut(stream)
    say('closed')
  }
  next()
}

createInterface({ input: process.stdin }).on('line', command).on('close', () => { process.exit(0) })
say('ready')
