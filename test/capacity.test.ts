// The planner, and docs/capacity.md, whose tables are what it prints.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { capacity, capacityTable, copiesOf, costs, groupTable, mastersTable, microsTable, usual } from '../bench/capacity.ts'
import { configSchema } from '../src/config.ts'

t.test('docs/capacity.md has the tables that npm run capacity prints', async (t) => {
  const page = readFileSync(join(import.meta.dirname, '../docs/capacity.md'), 'utf8')
  t.ok(page.includes(microsTable(usual)))
  t.ok(page.includes(capacityTable(usual, [10_000, 100_000, 1_000_000, 10_000_000])))
  t.ok(page.includes(groupTable()))
  t.ok(page.includes(mastersTable(usual, 10_000_000)))
})

t.test('planner, assumes the defaults of the settings', async (t) => {
  const settings = configSchema.properties as Record<string, { default?: unknown }>
  t.equal(usual.historyLength, settings.HISTORY_LENGTH!.default)
  t.equal(usual.historySeconds, settings.HISTORY_SECONDS!.default)
  t.equal(usual.heartbeatSeconds, settings.HEARTBEAT_SECONDS!.default)
  t.equal(usual.streamSeconds, Number(settings.MAX_STREAM_SECONDS!.default) * 0.9, 'jittered 80 to 100 %')
})

t.test('planner, logs are bounded by what is sent as well as by HISTORY_LENGTH', async (t) => {
  const logs = (ownPerMinute: number): number => capacity({ ...usual, users: 1, ownPerMinute }).logsGB * 1e9
  t.equal(Math.round(logs(60)), costs.redis.logBytes + 999 * costs.redis.entryBytes)
  t.equal(Math.round(logs(1 / 1440)), costs.redis.logBytes, 'one a day')
  t.equal(Math.round(logs(0.1)), costs.redis.logBytes + 143 * costs.redis.entryBytes)
})

t.test('planner, never plans for a node alone, and one more than the streams need', async (t) => {
  t.same([1, 40_000, 40_001, 1_000_000].map((users) => capacity({ ...usual, users }).nodes), [2, 2, 3, 26])
})

t.test('planner, copies of a group message go to the partitions that have members, and to no more', async (t) => {
  t.equal(copiesOf(100, 1), 0)
  t.equal(copiesOf(1, 8), 7 / 8, 'one member is at the home once in eight times')
  t.ok(copiesOf(2, 16) < 2 && copiesOf(10, 4) < 3)
  t.ok(Math.abs(copiesOf(100_000, 16) - 15) < 1e-6)
})
