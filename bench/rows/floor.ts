// The floors: what a delivery costs when nothing is done but the write.
import { fileURLToPath } from 'node:url'
import { startChild } from '../harness/child.ts'
import { compile } from '../harness/crowd.ts'
import type { Scope } from '../harness/scope.ts'
import type { Row, Running } from './row.ts'

const source = fileURLToPath(new URL('../servers/floor.c', import.meta.url))
const script = fileURLToPath(new URL('../servers/node-floor.ts', import.meta.url))

async function start (scope: Scope, command: string, args: readonly string[], name: string): Promise<Running> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const child = startChild(scope, command, args, {
    name,
    onLine: (line) => { if (line.startsWith('listening on ')) resolve(Number(line.slice(13))) }
  })
  void child.exited.then((how) => { reject(new Error(how)) })
  const port = await promise
  return {
    request: () => ({ port, path: '/' }),
    liveOn: 'head',
    publish: child.send,
    check: () => { if (!child.running) throw new Error(`${name} has ended`) },
    servers: () => [child.pid],
    others: {}
  }
}

export const floors: readonly Row[] = [
  {
    name: 'c-floor',
    title: 'floor: C write loop',
    kind: 'floor',
    absent: () => compile('floor', [source]) === undefined ? 'no C compiler; apt-get install gcc libc6-dev' : undefined,
    start: (scope) => start(scope, compile('floor', [source])!, [], 'the C floor')
  },
  {
    name: 'node-floor',
    title: 'floor: Node, raw sockets',
    kind: 'floor',
    absent: () => undefined,
    start: (scope, { profileFolder }) => start(scope, process.execPath, [...profileFolder === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileFolder], script], 'the Node floor')
  }
]
