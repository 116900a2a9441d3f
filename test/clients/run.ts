// Runs the programs of examples/clients to their end, a few at a time.
import { execFile } from 'node:child_process'

/** How many programs run at a time, and how long each may take: a virtual machine needs a second, a retry several. */
const AT_A_TIME = 6
const PATIENCE_MS = 60_000

/** `code`: null if it did not end by itself. */
interface Ended { code: number | null, out: string, err: string }

const OURS = /^(TIDINGS_|JWT_SECRET$|REDIS_)/
const rest = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OURS.test(name)))

/** Runs a program without settings of this process but `env`. */
export async function run ([command = '', ...args]: string[], env: Record<string, string>): Promise<Ended> {
  return await new Promise((resolve) => {
    execFile(command, args, { env: { ...rest, ...env }, timeout: PATIENCE_MS, killSignal: 'SIGKILL' }, (error, out, err) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, out, err })
    })
  })
}

/** A few at a time, in order. */
export async function each<T> (all: readonly T[], call: (one: T) => Promise<void>): Promise<void> {
  const left = [...all]
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await call(one)
  }))
}
