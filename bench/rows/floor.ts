// The floors: what a delivery costs when nothing is done but the write.
import { fileURLToPath } from 'node:url'
import { compile } from '../../test/fixtures/compile.ts'
import type { Scope } from '../../test/fixtures/wait.ts'
import { profiling, startListening } from '../harness/start.ts'
import type { Row } from './row.ts'

const source = fileURLToPath(new URL('../servers/floor.c', import.meta.url))
const script = fileURLToPath(new URL('../servers/node-floor.ts', import.meta.url))

interface Loop {
  readonly port: number
  readonly pid: number
  readonly send: (json: string) => void
  readonly check: () => void
}

async function startLoop (scope: Scope, command: string, args: readonly string[], name: string): Promise<Loop> {
  const { child, port } = await startListening(scope, command, args, { name })
  return { port, pid: child.pid, send: child.send, check: () => { if (!child.running) throw new Error(`${name} has ended`) } }
}

/** One row of one or more processes, over which the streams are spread. */
function floor (kind: 'c' | 'node', count: number): Row {
  const isC = kind === 'c'
  const title = isC ? 'C write loop' : 'Node, raw sockets'
  return {
    name: `${kind}-floor${count > 1 ? `-${count}` : ''}`,
    title: `floor: ${title}${count > 1 ? `, ${count} processes` : ''}`,
    kind: 'floor',
    absent: () => isC && compile('floor', [source]) === undefined ? 'no C compiler; apt-get install gcc libc6-dev' : undefined,
    start: async (scope, { profileFolder }) => {
      const loops: Loop[] = []
      for (let i = 0; i < count; i++) {
        loops.push(await (isC ? startLoop(scope, compile('floor', [source])!, [], 'the C floor') : startLoop(scope, process.execPath, [...profiling(profileFolder), script], 'the Node floor')))
      }
      return {
        request: (i) => ({ port: loops[i % count]!.port, path: '/' }),
        liveOn: 'head',
        publish: (json) => { for (const loop of loops) loop.send(json) },
        check: () => { for (const loop of loops) loop.check() },
        servers: () => loops.map(({ pid }) => pid),
        others: {}
      }
    }
  }
}

export const floors: readonly Row[] = [floor('c', 1), floor('node', 1)]

/** The same loops in as many processes as there are nodes beside them. */
export const spreadFloors: readonly Row[] = [1, 2, 3].flatMap((count) => [floor('c', count), floor('node', count)])
