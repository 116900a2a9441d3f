// The check in short (`.ci/run chaos` has it with every fault), and the check of the check: a service that is broken on purpose must fail it.
import t, { type Test } from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
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

t.test('chaos, a short run of what hosts, devices and publishers do: nothing is lost in silence', async (t) => {
  const { code, account, lines } = await chaos(t, '--seed', '5', '--seconds', '20', '--clients', '60', '--faults',
    'node-clock,redis-clock,log-disk-full,node-descriptors,redis-eviction,redis-log-stuck,phone-and-laptop,rejoin-while-away,publish-overlapping')
  t.equal(code, 0)
  t.same(account.failures, [])
  t.same(account.options.notTried, {}, 'a compiler and prlimit are there')
  t.ok(account.verdict.covered > 0, `${account.verdict.covered} were trimmed or evicted, and told`)
  t.equal(account.verdict.owed, account.verdict.received + account.verdict.covered)
  t.match(lines.join('\n'), /lost in silence +0 +\(must be 0\)\n/)
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
