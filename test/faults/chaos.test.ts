// The check of the check: a service that is broken on purpose must fail it. `.ci/run chaos` has the check itself.
import t, { type Test } from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readOptions } from '../../chaos/options.ts'
import { makeFolder, spawnChild } from '../fixtures/process.ts'

const main = fileURLToPath(new URL('../../chaos/main.ts', import.meta.url))

/** As `npm run chaos -- …` does; resolves with its exit code, its account, and what it printed. */
async function chaos (t: Test, ...args: string[]): Promise<{ code: number | null, account: any, lines: string[] }> {
  const file = join(makeFolder(t), 'account.json')
  const child = spawnChild(t, process.execPath, [main, '--json', file, ...args], { name: 'chaos' })
  const { code } = await child.exited
  if (code !== 0) t.comment(child.lines.slice(-45).join('\n'))
  return { code, lines: child.lines, account: code === 2 ? undefined : JSON.parse(readFileSync(file, 'utf8')) }
}

const short = ['--seed', '4', '--seconds', '8', '--clients', '60', '--faults']

t.test('chaos, on this machine, tries every fault', async (t) => {
  for (const { topology, notTried } of readOptions(['--topology', 'all'])) t.same(notTried, {}, `${topology}: a compiler and prlimit are there`)
})

// Whatever it needs for something to be lost.
const lossy: Record<string, string> = { 'no-gap': 'redis-eviction,phone-and-laptop' }

for (const sabotage of ['no-replay', 'no-refill', 'no-gap', 'drop-one']) {
  t.test(`chaos, with ${sabotage}, fails`, async (t) => {
    const { code, account, lines } = await chaos(t, ...short, lossy[sabotage] ?? 'redis-kill-pubsub,line-reset,nginx-kill', '--sabotage', sabotage)
    t.equal(code, 1)
    t.ok(account.verdict.lost > 0, `${account.verdict.lost} lost in silence`)
    t.match(account.failures, [/^lost in silence: \d+$/], 'and nothing but that')
    t.match(lines.at(-1), /^FAILED: lost in silence: \d+/)
  })
}

t.test('chaos, asked for help or for what there is not', async (t) => {
  const help = await chaos(t, '--help').catch(() => undefined)
  t.equal(help, undefined, 'help writes no account')
  const { code, lines } = await chaos(t, '--faults', 'meteor')
  t.equal(code, 2)
  t.match(lines.at(-1), '--faults: there is no fault "meteor"')
})
