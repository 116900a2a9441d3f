// The check of the check in a Cluster and over partitions. `.ci/run chaos` has the check itself, with every fault.
import t, { type Test } from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeFolder, spawnChild } from '../fixtures/process.ts'

const main = fileURLToPath(new URL('../../chaos/main.ts', import.meta.url))

async function chaos (t: Test, ...args: string[]): Promise<{ code: number | null, account: any, lines: string[] }> {
  const file = join(makeFolder(t), 'account.json')
  const child = spawnChild(t, process.execPath, [main, '--json', file, ...args.includes('--seed') ? [] : ['--seed', '4'], '--clients', '45', ...args], { name: 'chaos' })
  const { code } = await child.exited
  if (code !== 0) t.comment(child.lines.slice(-45).join('\n'))
  return { code, lines: child.lines, account: code === 2 ? undefined : JSON.parse(readFileSync(file, 'utf8')) }
}

t.test('chaos, in a Cluster with nodes that do not refill, fails', async (t) => {
  // For some seconds one node hears nothing of one master, so this loses something in every run.
  const { code, account } = await chaos(t, '--topology', 'cluster', '--seconds', '16', '--faults', 'master-half-open', '--sabotage', 'no-refill')
  t.equal(code, 1)
  t.ok(account.verdict.lost > 0, `${account.verdict.lost} lost in silence`)
})

t.test('chaos, over eight partitions whose publishers die between commit and copy: nothing is lost in silence, and without copies it is', async (t) => {
  const args = ['--partitions', '8', '--seconds', '4', '--faults', 'publishers-die,publish-overlapping']
  const { code, account } = await chaos(t, ...args)
  t.equal(code, 0)
  t.same(account.failures, [])
  t.ok(account.verdict.owed > 2000, `${account.verdict.owed} owed`)
  const broken = await chaos(t, ...args, '--sabotage', 'no-copies')
  t.equal(broken.code, 1)
  t.ok(broken.account.verdict.lost > 1000, `${broken.account.verdict.lost} lost in silence`)
})

t.test('chaos, asked for a fault or a sabotage that its topology cannot have, says where it can be had', async (t) => {
  for (const [args, said] of [
    [['--topology', 'triangle'], '--topology: one of single, sentinel, cluster, all'],
    [['--topology', 'sentinel', '--faults', 'slot-moved'], '--faults: slot-moved cannot be made with --topology sentinel, only with cluster'],
    [['--partitions', '3'], '--partitions: 1, 2, 4 … 256, not 3'],
    [['--faults', 'publishers-die'], '--faults: publishers-die needs several --partitions'],
    [['--sabotage', 'no-copies'], '--sabotage no-copies: needs several --partitions'],
    [['--topology', 'cluster', '--sabotage', 'drop-one'], '--sabotage drop-one: only with --topology single']
  ] as const) {
    const { code, lines } = await chaos(t, ...args)
    t.equal(code, 2)
    t.match(lines.at(-1), said, 'below the help, so that it is seen')
  }
})
