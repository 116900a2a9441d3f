// Which checkout of Tidings runs in a row: this one, or the one that --against names.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UsageError } from '../options.ts'

export interface Service {
  /** Folder of the checkout. */
  readonly root: string
  /** Behind the names and titles of its rows: '' for this checkout, '@332ad3a' for another. */
  readonly tag: string
  /** Settings that its nodes get (--set). */
  readonly settings: Readonly<Record<string, string>>
}

type Settings = Service['settings']

export const thisCheckout = (settings: Settings): Service => ({ root: fileURLToPath(new URL('../..', import.meta.url)), tag: '', settings })

/** Throws UsageError where no node could be started. */
export function otherCheckout (path: string, settings: Settings): Service {
  const root = resolve(path)
  if (!existsSync(join(root, 'src/server.ts'))) throw new UsageError(`--against ${path}: there is no src/server.ts; give the folder of another checkout, as git worktree add makes one`)
  if (!existsSync(join(root, 'node_modules'))) throw new UsageError(`--against ${path}: its packages are not installed; npm ci --prefix ${path}`)
  return { root, tag: `@${commitOf(root)}`, settings }
}

/** Short, with "-dirty" where files differ from it; "other" where that is no checkout of git. */
export function commitOf (root: string): string {
  try {
    return execFileSync('git', ['-C', root, 'describe', '--always', '--dirty'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'other'
  }
}
