// Publishing without being the bottleneck: prepared bytes on raw keep-alive connections, HTTP/1.1 and RESP, pipelined,
// in order.
import net from 'node:net'
import type { Scope } from '../../test/fixtures/wait.ts'

/** The bytes of one request or command. */
export function httpPost (path: string, headers: readonly string[], body: string): string {
  return [`POST ${path} HTTP/1.1`, 'Host: 127.0.0.1', ...headers, `Content-Length: ${Buffer.byteLength(body)}`, '', body].join('\r\n')
}

export function respCommand (...args: readonly string[]): string {
  return `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join('')}`
}

const SILENCE_MS = 60_000

/** A connection that counts answers by their first line and remembers the first that is an error. */
export class Line {
  readonly #socket: net.Socket
  readonly #isHttp: boolean
  #rest = ''
  #waiting: Array<() => void> = []
  #target: { answered: number, resolve: () => void } | undefined
  answered = 0
  fault: string | undefined

  private constructor (socket: net.Socket, protocol: 'http' | 'resp') {
    this.#socket = socket
    this.#isHttp = protocol === 'http'
    // Nobody is to wait for ever for a server that hangs. (A connection that is not used for so long is of no use
    // either.)
    socket.setTimeout(SILENCE_MS, () => { if (this.#waiting.length > 0 || this.#target !== undefined) socket.destroy(new Error(`no answer for ${SILENCE_MS / 1000} s`)) })
    socket.setEncoding('latin1').on('data', (text: string) => { this.#read(text) })
    socket.on('error', (error) => { this.fault ??= error.message })
    socket.on('close', () => {
      this.fault ??= 'the connection closed'
      for (const wake of this.#waiting.splice(0)) wake()
      this.#target?.resolve()
    })
  }

  static async open (scope: Scope, port: number, protocol: 'http' | 'resp'): Promise<Line> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    await new Promise<void>((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
    scope.teardown(() => { socket.destroy() })
    return new Line(socket, protocol)
  }

  #read (text: string): void {
    // Answers are short and told apart by how they begin; nothing inside one looks like that.
    const all = this.#rest + text
    const pattern = this.#isHttp ? /HTTP\/1\.1 (\d{3})[^\r]*\r\n/g : /(?:^|\n)(\*|-[^\r]*)(?=[^\n]*\r\n)/g
    let used = 0
    for (let found = pattern.exec(all); found !== null; found = pattern.exec(all)) {
      used = pattern.lastIndex
      const [, status] = found
      if (this.#isHttp ? !status!.startsWith('2') : status!.startsWith('-')) this.fault ??= all.slice(found.index, found.index + 400)
      this.answered++
      this.#waiting.shift()?.()
    }
    if (this.#target !== undefined && (this.answered >= this.#target.answered || this.fault !== undefined)) {
      this.#target.resolve()
      this.#target = undefined
    }
    this.#rest = all.slice(Math.max(used, all.length - 512))
  }

  /** Does not wait for the answer. */
  send (bytes: string): void {
    this.#socket.write(bytes)
  }

  /** Sends many at once; resolves when so many have been answered in all. */
  async callUntil (bytes: string, answered: number): Promise<void> {
    const done = new Promise<void>((resolve) => { this.#target = { answered, resolve } })
    this.#socket.write(bytes)
    await done
    this.check()
  }

  /** Resolves with its answer. */
  async call (bytes: string): Promise<void> {
    const answered = new Promise<void>((resolve) => { this.#waiting.push(resolve) })
    this.#socket.write(bytes)
    await answered
    this.check()
  }

  check (): void {
    if (this.fault !== undefined) throw new Error(`publishing failed: ${this.fault}`)
  }
}
