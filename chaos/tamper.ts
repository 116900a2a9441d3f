// Moves the wall clock of one process, or fills the disk that its log goes to, by a library that is loaded before libc
// (tamper.c).
import { openSync, closeSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compile } from '../test/fixtures/compile.ts'
import { makeFolder } from '../test/fixtures/process.ts'
import type { Scope } from '../test/fixtures/wait.ts'

const source = fileURLToPath(new URL('tamper.c', import.meta.url))

/** Why no process can be tampered with here, with what to do about it; undefined if it can. */
export function tamperAbsent (): string | undefined {
  if (process.platform !== 'linux') return 'it needs Linux'
  return library() === undefined ? 'it needs a C compiler: apt-get install gcc libc6-dev' : undefined
}

const library = (): string | undefined => compile('tamper.so', [source], ['-shared', '-fPIC', '-O2'])

export class Tamper {
  /** For the process that is to be tampered with; nothing where that cannot be done. */
  readonly env: Readonly<Record<string, string>>
  readonly #file: number

  constructor (scope: Scope) {
    const path = join(makeFolder(scope), 'orders')
    this.#file = openSync(path, 'w+')
    scope.teardown(() => { closeSync(this.#file) })
    this.#order(0, 0)
    this.#order(1, 0)
    this.env = tamperAbsent() === undefined ? { LD_PRELOAD: library()!, TAMPER_FILE: path } : {}
  }

  /** From now on the process's wall clock is so far from ours. */
  moveClock (seconds: number): void {
    this.#order(0, seconds)
  }

  /** Whether what the process writes to its standard output is refused: no space left on device. */
  fillLog (isFull: boolean): void {
    this.#order(1, isFull ? 1 : 0)
  }

  #order (place: 0 | 1, value: number): void {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(value))
    writeSync(this.#file, bytes, 0, 8, place * 8)
  }
}
