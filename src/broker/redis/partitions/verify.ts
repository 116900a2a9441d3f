// Verifies a division: every key is where it belongs, and nothing is left over.
import { type Kind, kindOf } from './keys.ts'
import { type Ask, keysUnder } from './scan.ts'
import { partitionOf } from './slots.ts'

/** What may remain under a prefix that is no partition any more. */
const STAYING: ReadonlySet<Kind['kind']> = new Set(['own', 'unknown'])

export interface VerifyOptions {
  readonly to: number
  readonly ask: Ask
  readonly say: (text: string) => void
}

/** Rejects with a sentence that says what to do. */
export async function verify ({ to, ask, say }: VerifyOptions, sources: readonly string[], targets: readonly string[]): Promise<void> {
  say('looking whether everything is where it belongs')
  for (const source of sources.filter((source) => !targets.includes(source))) {
    for await (const rests of keysUnder(ask, source)) {
      for (const rest of rests) if (!STAYING.has(kindOf(rest).kind)) throw new Error(`${source}:${rest} was left over: something has written meanwhile; end it, and call again`)
    }
  }
  for (const [n, target] of targets.entries()) {
    let users = 0
    for await (const rests of keysUnder(ask, target)) {
      for (const rest of rests) {
        const key = kindOf(rest)
        if (key.kind !== 'user') continue
        users++
        if (partitionOf(key.userId, to) !== n) throw new Error(`${target}:${rest} is in the wrong partition: something has written meanwhile; end it, and call again`)
      }
    }
    say(`partition ${n} of ${to}: ${users} keys of users`)
  }
}

/** Compares a copy byte for byte. Rejects with a sentence that says what to do. */
export async function compare (ask: Ask, from: string, to: string, dump: Buffer): Promise<void> {
  const copied = await ask(to, (redis) => redis.dumpBuffer(to))
  // The last ten bytes are the version and the checksum.
  if (copied === null || !copied.subarray(0, -10).equals(dump.subarray(0, -10))) throw new Error(`${from} is not the same at ${to}: nothing of it was taken away; call again, and report it`)
}
