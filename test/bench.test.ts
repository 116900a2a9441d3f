// The bench's command line and tables: all that they say is read off the sections. (That the rows run: npm run bench -- --smoke.)
import { readFileSync } from 'node:fs'
import t from 'tap'
import { readOptions, usage } from '../bench/command.ts'
import { otherCheckout, thisCheckout } from '../bench/harness/service.ts'
import type { Options } from '../bench/options.ts'
import { peers } from '../bench/peers/peers.ts'
import { plans } from '../bench/plan.ts'
import { notTaken, select } from '../bench/select.ts'
import { sections } from '../bench/sections/sections.ts'
import { againstTable } from '../bench/table.ts'

const asked = (...args: string[]): Options => readOptions(args) as Options
const here = thisCheckout({})
const there = { ...here, tag: '@other' }
const chosen = (options: Options, services = [here]) => select(plans(options, { services, peers: [] }), options)
const rowsOf = (options: Options, services = [here]) => chosen(options, services).plans.map(({ section, rows }) => [section.name, rows.map(({ name }) => name)])

t.test('usage names every section, with its defaults and its rows', async (t) => {
  const text = usage.replaceAll(/\s+/g, ' ')
  for (const { name, takes } of sections) {
    t.ok(text.includes(name), name)
    for (const size of [takes.streams, takes.seconds, takes.rate, takes.churn]) {
      if (size !== undefined) t.ok(text.includes(`${name} ${size[0]}`), `${name} ${size[0]}`)
    }
  }
  for (const { name } of peers) t.ok(text.includes(name), name)
  for (const line of usage.split('\n')) t.ok(line.length <= 150, line)
})

t.test('plans, by default and in a smoke run, have the sizes of the section', async (t) => {
  const sizes = (...args: string[]) => Object.fromEntries(chosen(asked(...args)).plans.map(({ section, asked: { streams, seconds }, rounds }) => [section.name, [streams, seconds, rounds]]))
  t.match(sizes(), { fanout: [5000, 5, 3], idle: [15_000, 0, 1], storm: [10_000, 0, 2], 'scaling-burst': [2000, 5, 3], footprint: [5000, 0, 1] })
  t.match(sizes('--smoke'), { fanout: [200, 0.3, 1], publish: [0, 0.5, 1] })
  t.notOk('churn' in sizes('--smoke') || 'scaling' in sizes('--smoke'), 'a smoke run has a minute')
  t.match(sizes('--only', 'fanout,burst', '--streams', '7', '--seconds', '2', '--rounds', '9'), { fanout: [7, 2, 9], burst: [7, 2, 9] })
})

t.test('every command of the docs is taken, and so is every row of a table of the section text', async (t) => {
  const docs = ['performance', 'capacity', 'deployment', 'operations'].map((name) => readFileSync(`docs/${name}.md`, 'utf8')).join('\n')
  const commands = [...docs.matchAll(/npm run bench -- ([^\n`#]+)/g)].map(([, args]) => args!.trim().replace(/ --against <?\S+/, '').split(/ +/))
  t.ok(commands.length > 10, `${commands.length} commands`)
  for (const args of commands) t.doesNotThrow(() => readOptions(args), args.join(' '))
  for (const { title } of chosen(asked('--only', 'text')).plans[0]!.rows) t.match(docs, new RegExp(`^\\| ${title} \\| [\\d.]+ \\| [\\d,]+ \\|$`, 'm'), title)
})

t.test('options that a section does not take: said', async (t) => {
  const options = asked('--only', 'fanout,churn,publish', '--streams', '10', '--rate', '5', '--client', 'node')
  t.same(notTaken(options, chosen(options).plans), [
    '--streams: not taken in churn, publish', '--rate: not taken in fanout, churn, publish', '--client: not taken in publish'
  ])
})

t.test('what there is not: refused with a sentence', async (t) => {
  const faults: Record<string, string[]> = {
    '"fanin" is not one of fanout, burst': ['--only', 'fanin'],
    '"nobody" is not one of': ['--rows', 'nobody'],
    'give a whole number from 1 to 100000': ['--streams', '0'],
    '--rounds wants a value': ['--rounds'],
    'is no setting': ['--set', 'COALESCE=10'],
    'is what the bench sets itself': ['--set', 'PORT=10']
  }
  for (const [sentence, args] of Object.entries(faults)) t.throws(() => readOptions(args), { message: new RegExp(sentence) }, args.join(' '))
  t.throws(() => chosen(asked('--only', 'storm', '--rows', 'tidings')), /nothing that was asked for has a row tidings; storm has tidings-redis-3/)
  t.throws(() => otherCheckout('/nowhere', {}), /there is no src\/server.ts/)
})

t.test('--against: each row of Tidings beside its twin, in turn, and nothing else unless it is named', async (t) => {
  t.same(rowsOf(asked('--only', 'burst,publish', '--against', 'x'), [here, there]), [
    ['burst', ['tidings', 'tidings@other', 'tidings-redis-1', 'tidings-redis-1@other', 'tidings-redis-3', 'tidings-redis-3@other', 'tidings-redis-3-nginx', 'tidings-redis-3-nginx@other']],
    ['publish', ['publish-embedded', 'publish-embedded@other', 'publish-redis', 'publish-redis@other', 'publish-1000', 'publish-1000@other', 'fcall', 'fcall@other']]
  ])
  t.same(rowsOf(asked('--only', 'fanout', '--against', 'x', '--rows', 'c-floor,tidings'), [here, there]), [['fanout', ['c-floor', 'tidings', 'tidings@other']]])
})

t.test('--against: ratios are taken round by round', async (t) => {
  const [plan] = chosen(asked('--only', 'fanout', '--against', 'x'), [here, there]).plans
  const rounds = (...micros: number[]) => micros.map((microsPerDelivery) => ({ microsPerDelivery, others: {} }))
  const rows = [
    { name: 'tidings', title: 'Tidings', failures: [], rounds: rounds(10, 30, 21) },
    { name: 'tidings@other', title: 'Tidings @other', twin: 'tidings', failures: [], rounds: rounds(10, 20, 20) }
  ]
  t.match(againstTable(plan!, { section: 'fanout', title: '', rows }), /\| Tidings ÷ tidings@other \| 1\.05 \(1\.00–1\.50\) \|/)
  t.equal(againstTable(plan!, { section: 'fanout', title: '', rows: rows.slice(0, 1) }), '')
})
