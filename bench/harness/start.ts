// Starting what is measured beside nodes of the service: programs, and small servers that print where they listen.
import { fileURLToPath } from 'node:url'
import { systemEnvironment } from '../../test/fixtures/node.ts'
import { spawnChild, type ChildOptions, type Spawned } from '../../test/fixtures/process.ts'
import type { Scope } from '../../test/fixtures/wait.ts'

/** Loaded before a Node server whose memory is weighed. */
export const settle = fileURLToPath(new URL('../servers/settle.ts', import.meta.url))

/** Loaded before one whose allocations are counted. */
export const allocations = fileURLToPath(new URL('../servers/allocations.ts', import.meta.url))

export const profiling = (folder: string | undefined): string[] => folder === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', folder]

/** Starts a program without any setting of the service from outside. */
export function start (scope: Scope, command: string, args: readonly string[], { env = {}, ...options }: ChildOptions & { name: string }): Spawned {
  return spawnChild(scope, command, args, { ...options, env: { ...systemEnvironment(), ...env } })
}

/** One that prints `listening on <port>`. Its stdin is a pipe. */
export async function startListening (
  scope: Scope, command: string, args: readonly string[], options: ChildOptions & { name: string }
): Promise<{ child: Spawned, port: number }> {
  const child = start(scope, command, args, { ...options, hasStdin: true })
  const line = await child.waitForLine(/^listening on \d+$/)
  return { child, port: Number(line.slice(13)) }
}

/** A Node server that does. `settle` collects its garbage at SIGWINCH. */
export async function startScript (
  scope: Scope, path: string, { profileFolder, env = {} }: { profileFolder?: string | undefined, env?: Record<string, string> } = {}
) {
  const args = [...profiling(profileFolder), '--import', settle, path]
  return await startListening(scope, process.execPath, args, { name: path.split('/').at(-1)!, env: { NODE_ENV: 'production', ...env } })
}

export function pause (ms: number): Promise<void> {
  return new Promise((resolve) => { setTimeout(resolve, ms) })
}
