// The account as a table for people, and as JSON.
import { cpus } from 'node:os'
import { faults } from './faults.ts'
import type { Incident, Outcome } from './run.ts'
import { mustBeZero, type Verdict } from './verdict.ts'

const labels: Record<typeof mustBeZero[number], string> = {
  lost: 'lost in silence',
  duplicates: 'duplicates',
  outOfOrder: 'out of order',
  foreign: 'foreign (addressed to somebody else)',
  publishedTwice: 'published twice, in spite of its Idempotency-Key',
  closedForGood: 'streams CLOSED for good'
}

/** What had to be 0 and is not, in words. */
export function failures ({ verdict, notHealed, notAlive, oddAnswers, uncleanExits }: Outcome): string[] {
  const counts: Array<[string, number]> = [
    ...mustBeZero.map((name): [string, number] => [labels[name], verdict[name]]),
    ['faults that were not healed within 60 s', notHealed],
    ['/livez not green', notAlive],
    ['answers that no publisher should get', Object.values(oddAnswers).reduce((sum, count) => sum + count, 0)],
    ['nodes that did not end with code 0', uncleanExits]
  ]
  // A run in which nothing was owed proves nothing.
  if (verdict.owed === 0) counts.push(['nothing was owed: the run shows nothing; runs', 1])
  return counts.filter(([, count]) => count > 0).map(([what, count]) => `${what}: ${count}`)
}

export function table (outcome: Outcome): string {
  const notTried = Object.entries(outcome.options.notTried).map(([name, why]) => `NOT TRIED: ${name}, ${why}`)
  return [...incidentLines(outcome.incidents), ...notTried, '', ...accountLines(outcome), ...caseLines(outcome)].join('\n')
}

function incidentLines (incidents: readonly Incident[]): string[] {
  const rows = faults.flatMap(({ name }) => {
    const mine = incidents.filter(({ fault }) => fault === name)
    const company = incidents.filter((incident) => incident.with === name).length
    if (mine.length + company === 0) return []
    return [`${name.padEnd(22)}${`${mine.length + company}`.padStart(6)}${spread(mine.map(({ detectedMs }) => detectedMs))}${spread(mine.map(({ healedMs }) => healedMs))}`]
  })
  return [
    `${'fault'.padEnd(22)}${'times'.padStart(6)}${'to detect, s'.padStart(18)}${'to heal, s'.padStart(18)}`,
    `${''.padEnd(22)}${''.padStart(6)}${'median (worst)'.padStart(18)}${'median (worst)'.padStart(18)}`,
    ...rows
  ]
}

function spread (values: ReadonlyArray<number | undefined>): string {
  const known = values.filter((value) => value !== undefined).sort((a, b) => a - b)
  if (known.length === 0) return '-'.padStart(18)
  const text = (ms: number): string => (ms / 1000).toFixed(2)
  return `${text(known[Math.floor((known.length - 1) / 2)]!)} (${text(known.at(-1)!)})`.padStart(18)
}

function accountLines ({ verdict, options, notHealed, notAlive, oddAnswers, uncleanExits, acknowledged, retries, reconnects, seconds }: Outcome): string[] {
  const line = (what: string, count: number, must = ''): string => `${what.padEnd(52)}${grouped(count).padStart(12)}${must}`
  const zero = (what: string, count: number): string => line(what, count, count === 0 ? '   (must be 0)' : '   (must be 0)  <- FAILED')
  return [
    `seed ${options.seed}, ${options.topology}, ${options.partitions} partitions, ${verdict.clients} clients, ${options.seconds} s of faults, ${seconds.toFixed(0)} s in all, ${cpus().length} cores, Node ${process.version}`,
    line('durable notifications acknowledged', acknowledged),
    line('  attempts over HTTP that had to be repeated', retries),
    line('durable notifications owed, over all clients', verdict.owed),
    line('  received', verdict.received),
    line('  covered by an "incomplete"', verdict.covered),
    zero(`  ${labels.lost}`, verdict.lost),
    ...mustBeZero.slice(1, -1).map((name) => zero(labels[name], verdict[name])),
    line('told "incomplete"', verdict.toldIncomplete),
    line('reconnects', reconnects),
    zero(labels.closedForGood, verdict.closedForGood),
    line('plain notifications received (not promised)', verdict.plain),
    zero('faults not healed within 60 s', notHealed),
    zero('/livez not green', notAlive),
    zero('answers that no publisher should get', Object.values(oddAnswers).reduce((sum, count) => sum + count, 0)),
    zero('nodes that did not end with code 0', uncleanExits)
  ]
}

function caseLines ({ verdict, oddAnswers }: Outcome): string[] {
  const odd = Object.entries(oddAnswers).map(([what, count]) => `${count} x ${what}`)
  return [...verdict.cases, ...odd].map((text) => `  ${text}`)
}

const grouped = (count: number): string => count.toLocaleString('en-US')

export function json (outcome: Outcome): string {
  const { cases, ...counts }: Verdict = outcome.verdict
  return `${JSON.stringify({ ...outcome, verdict: counts, cases, failures: failures(outcome) }, undefined, 2)}\n`
}
