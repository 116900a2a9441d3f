// The JSON file of a run: known to be writable before anything is measured, and complete up to the last section that
// ended.
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import type { Head } from './machine.ts'
import { UsageError } from './options.ts'
import type { SectionResult } from './table.ts'

/** Throws UsageError where no file can be written; leaves what is there as it is. */
export function checkFigures (path: string): string {
  const file = resolve(path)
  try {
    mkdirSync(dirname(file), { recursive: true })
    const isNew = !existsSync(file)
    closeSync(openSync(file, 'a'))
    if (isNew) rmSync(file)
  } catch (error) {
    throw new UsageError(`--json ${path}: the figures cannot be written there (${(error as Error).message})`)
  }
  return file
}

export function writeFigures (file: string, head: Head, sections: readonly SectionResult[]): void {
  writeFileSync(file, `${JSON.stringify({ head, sections }, null, 1)}\n`)
}

export const shownPath = (file: string): string => relative(process.cwd(), file)
