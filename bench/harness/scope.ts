// What must be undone when a measurement is over, and must not outlive the bench however that ends.
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Undoes in the opposite order. */
export class Scope {
  readonly #steps: Array<() => unknown> = []

  onEnd (step: () => unknown): void {
    this.#steps.push(step)
  }

  async end (): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) await step()
  }
}

// A bench that is killed undoes nothing. This shell then sees the end of its stdin and kills what is left; every child leads a
// session of its own, so its children's children go with it, even those that lead a group of their own (Pushpin's).
const GUARD = `
while read -r what value; do
  case $what in
    child) pids="$pids $value" ;;
    gone) left=; for pid in $pids; do [ "$pid" = "$value" ] || left="$left $pid"; done; pids=$left ;;
    folder) set -- "$@" "$value" ;;
  esac
done
for pid in $pids; do pkill -KILL -s "$pid"; kill -s KILL -- "-$pid"; done 2>/dev/null
[ $# -eq 0 ] || rm -rf -- "$@"
`
let guard: ChildProcess | undefined

export function tellGuard (line: string): void {
  if (guard === undefined) {
    guard = spawn('/bin/sh', ['-c', GUARD, 'guard'], { detached: true, stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' })
    guard.unref()
    ;(guard.stdin as unknown as { unref: () => void }).unref()
  }
  guard.stdin!.write(`${line}\n`)
}

/** A folder for logs and configuration, gone at the end. */
export function makeFolder (scope: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), 'tidings-bench-'))
  chmodSync(folder, 0o755) // nginx's workers run as another user
  tellGuard(`folder ${folder}`)
  scope.onEnd(() => { rmSync(folder, { recursive: true, force: true }) })
  return folder
}
