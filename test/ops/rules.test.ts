// The rules: each alert fires in a test of its own, and stands in the runbook; the runbook knows no other. So do the lines of the log.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { run, tools } from './tools.ts'

interface Rule { alert?: string, record?: string, expr: string, labels?: Record<string, string>, annotations?: Record<string, string> }

const { promtool } = await tools()
const root = join(import.meta.dirname, '../..')
const folder = join(root, 'ops/prometheus')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const rules = (parse(read('ops/prometheus/rules.yml')) as { groups: { rules: Rule[] }[] }).groups.flatMap(({ rules }) => rules)
const alerts = rules.filter((rule): rule is Rule & { alert: string } => rule.alert !== undefined)
const runbook = read('docs/operations.md')
const tests = globSync('*.test.yml', { cwd: folder })

t.test('promtool: configuration and rules are valid', async (t) => {
  t.match(run(promtool, ['check', 'config', join(folder, 'prometheus.yml')]), `${rules.length} rules found`)
})

t.test('promtool test rules: each alert fires where it should, and not where it should not', async (t) => {
  for (const file of tests) t.match(run(promtool, ['test', 'rules', join(folder, file)]), 'SUCCESS', file)
  const text = tests.map((file) => readFileSync(join(folder, file), 'utf8')).join('\n')
  for (const { alert } of alerts) t.match(text, `ALERTS{alertname="${alert}", alertstate="firing"}`, alert)
})

t.test('promtool test rules, an alert that never fires: noticed', async (t) => {
  // The burn rates are the most intricate; that the others are compared with something is seen above.
  t.throws(() => run(promtool, ['test', 'rules', '/dev/stdin'], {
    input: readFileSync(join(folder, 'rules-days.test.yml'), 'utf8').replace('rules.yml', join(folder, 'rules.yml')).replace('998x1000', '1000x1000')
  }), /FAILED/)
})

t.test('alerts: each with severity, a summary and a description', async (t) => {
  for (const { alert, labels, annotations } of alerts) {
    t.match(alert, /^Tidings[A-Z]/)
    t.match(labels?.severity ?? '', /^(page|ticket)$/, alert)
    t.ok(annotations?.summary && annotations.description, alert)
  }
})

t.test('rules, scraped once a minute, as Prometheus does by default: every window has the two values that a rate needs', async (t) => {
  for (const { alert, record, expr } of rules) {
    for (const [window, count, unit] of expr.matchAll(/\[(\d+)([smhd])\]/g)) {
      t.ok(Number(count) * { s: 1, m: 60, h: 3600, d: 86_400 }[unit as 's' | 'm' | 'h' | 'd'] >= 120, `${alert ?? record}: ${window}`)
    }
  }
})

t.test('runbook: a section for each alert, with its severity, and none for others', async (t) => {
  const section = runbook.slice(runbook.indexOf('## Alerts'), runbook.indexOf('## What /readyz says'))
  const told = [...section.matchAll(/^### (\S+)\n\n(page|ticket) · [^]*?→/gm)].map(([, name, severity]) => `${name} ${severity}`)
  t.same(told, alerts.map(({ alert, labels }) => `${alert} ${labels?.severity}`), 'in the order of rules.yml')
  for (const [name] of runbook.matchAll(/\bTidings[A-Z]\w+/g)) t.ok(alerts.some(({ alert }) => alert === name), name)
})

t.test('runbook: every warning and error that a node logs has a row', async (t) => {
  const table = runbook.slice(runbook.indexOf('## What the log says'))
  const rows = [...table.matchAll(/^\| `(.+?)` \| (warn|error|fatal) \| .+ \|$/gm)].map(([, text, level]) => ({ text: text!, level: level! }))
  const logged = globSync('src/**/*.ts', { cwd: root }).flatMap((path) =>
    [...read(path).matchAll(/\b[lL]og(?:ger)?\??\.(warn|error|fatal)\((?:\{.*?\}, ?|\w+, ?)?(['`])(.*?)\2\)/gs)].map(([, level, , text]) => ({ level: level!, text: text!.replaceAll(/\$\{[^}]*\}/g, '…') })))
  t.ok(logged.length > 5)
  for (const line of logged) t.ok(rows.some(({ level, text }) => level === line.level && text === line.text), `${line.level}: ${line.text}`)
  for (const row of rows) t.ok(logged.some(({ level, text }) => level === row.level && text === row.text), `is still logged: ${row.text}`)
})

t.test('runbook: everything that /readyz may say of Redis has a row', async (t) => {
  const section = runbook.slice(runbook.indexOf('## What /readyz says'), runbook.indexOf('## What the log says'))
  // Of each sentence what comes before the advice.
  const clause = (text: string) => text.replaceAll(/\$\{[^}]*\}/g, '…').split(/; | \(/)[0]!
  const diagnoses = [...read('src/broker/redis/diagnosis.ts').matchAll(/(?:return |\/i?, |\? |: |= )(['`])((?:Redis|REDIS_URL|nobody|no|the|this|there) .*?)\1/g)].map(([, , text]) => text!)
  const warnings = [...read('src/broker/redis/warnings.ts').matchAll(/warnings\.push\((['`])(.*?)\1\)/g)].map(([, , text]) => text!)
  t.ok(diagnoses.length > 12 && warnings.length >= 3, `${diagnoses.length} and ${warnings.length}`)
  for (const text of [...diagnoses, ...warnings]) t.match(section, clause(text).split('…')[0]!, text)
})
