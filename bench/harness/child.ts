// A process under measurement, or one that measures: started, spoken to line by line, stopped.
import { spawn, spawnSync } from 'node:child_process'
import { openSync, readFileSync } from 'node:fs'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { type Scope, tellGuard } from './scope.ts'

export interface ChildOptions {
  readonly name: string
  readonly env?: Record<string, string>
  readonly cwd?: string
  /** Where its output goes. Without it the lines are handed to `onLine`. */
  readonly logFile?: string
  readonly onLine?: (line: string) => void
}

export interface Child {
  readonly name: string
  readonly pid: number
  readonly running: boolean
  /** Writes to its stdin. */
  send: (line: string) => void
  /** Bytes that its stdin has not taken yet. */
  readonly unsent: number
  signal: (signal: NodeJS.Signals) => void
  /** SIGTERM, and SIGKILL after some seconds. */
  stop: () => Promise<void>
  readonly exited: Promise<string>
}

/** Only what a process needs to run: no setting of the service from outside. */
const environment = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, HOME: process.env['HOME'] ?? '/', LANG: 'C.UTF-8' }

export function startChild (scope: Scope, command: string, args: readonly string[], { name, env = {}, cwd = '/', logFile, onLine }: ChildOptions): Child {
  const log = logFile === undefined ? undefined : openSync(logFile, 'a')
  const child = spawn(command, args, {
    cwd, detached: true, env: { ...environment, ...env }, stdio: ['pipe', log ?? 'pipe', log ?? 'pipe']
  })
  const pid = child.pid ?? 0
  if (pid > 0) tellGuard(`child ${pid}`)
  const said: string[] = []
  if (log === undefined) {
    for (const output of [child.stdout!, child.stderr!]) {
      createInterface({ input: output }).on('line', (line) => {
        if (said.push(line) > 20) said.shift()
        onLine?.(line)
      })
    }
  }
  child.stdin!.on('error', () => {})
  let running = pid > 0
  const exited = new Promise<string>((resolve) => {
    const end = (how: string): void => {
      running = false
      if (pid > 0) tellGuard(`gone ${pid}`)
      const lines = logFile === undefined ? said : readFileSync(logFile, 'utf8').split('\n')
      const tail = lines.filter((line) => line.trim() !== '' && !/^\s+at /.test(line)).slice(-6).map((line) => line.slice(0, 300))
      // One line for the table; the rest is for whoever looks at the progress.
      const reason = tail.findLast((line) => /error|fail|cannot/i.test(line))?.trim() ?? ''
      resolve(`${name} ended (${how}) ${reason}${tail.length > 1 ? `\n${tail.map((line) => `    ${line}`).join('\n')}` : ''}`)
    }
    child.once('error', (error) => { end(error.message) })
    child.once('close', (code, signal) => { end(signal ?? `exit ${code}`) })
  })
  const stop = async (): Promise<void> => {
    if (!running) return
    child.kill('SIGTERM')
    const patience = setTimeout(() => { child.kill('SIGKILL') }, 5000)
    await exited
    clearTimeout(patience)
    spawnSync('pkill', ['-KILL', '-s', String(pid)]) // what it left behind in its session
  }
  scope.onEnd(stop)
  return {
    name,
    pid,
    get running () { return running },
    send: (line) => { child.stdin!.write(`${line}\n`) },
    get unsent () { return child.stdin!.writableLength },
    signal: (signal) => { child.kill(signal) },
    stop,
    exited
  }
}

/** A port that nobody listens on, below the range from which outgoing connections are given theirs. */
export async function freePort (): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = 10_000 + Math.floor(Math.random() * 20_000)
    const isFree = await new Promise<boolean>((resolve) => {
      const server = net.createServer()
      server.once('error', () => { resolve(false) })
      server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => { resolve(true) }))
    })
    if (isFree) return port
  }
  throw new Error('found no free port of 127.0.0.1 between 10000 and 29999')
}

/** Asks until the answer is 2xx; an error tells what the process said before it ended. */
export async function answers (url: string, child: Child, withinMs = 20_000): Promise<void> {
  let gone = ''
  void child.exited.then((how) => { gone = how })
  let said = ''
  for (const until = performance.now() + withinMs; performance.now() < until && gone === '';) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch((error: Error) => error)
    if (answer instanceof Response) {
      said = `${answer.status} ${await answer.text()}`
      if (answer.ok) return
    } else said = String(answer.cause ?? answer.message)
    await pause(25)
  }
  throw new Error(gone === '' ? `${child.name} did not answer at ${url}: ${said}` : gone)
}

export function pause (ms: number): Promise<void> {
  return new Promise((resolve) => { setTimeout(resolve, ms) })
}
