// Pictures of a result: npm run bench:plot -- [file.json] [folder], by default the newest in bench/results into
// docs/plots.
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { readCommandLine, refuse } from '../../scripts/command-line.ts'
import { installPackages } from '../install.ts'
import { median } from '../harness/stats.ts'
import { load } from './packages.ts'
import type { Head } from '../machine.ts'
import type { SectionResult } from '../table.ts'

const usage = `Usage: npm run bench:plot [-- <file.json> [<folder>]]

Draws the figures of a file that npm run bench wrote (the newest in bench/results) as SVG into the folder (docs/plots).`

interface Picture {
  readonly section: string
  readonly file: string
  readonly title: string
  readonly axis: string
  readonly field: string
  /** Where a few rows are so much larger that the others could not be told apart. */
  readonly logarithmic?: boolean
  /** A goal, drawn as a line. */
  readonly goal?: number
}

const pictures: readonly Picture[] = [
  { section: 'fanout', file: 'fanout', title: 'One message to many streams', axis: 'CPU of the server, µs a delivery', field: 'microsPerDelivery' },
  { section: 'burst', file: 'burst', title: 'A thousand messages a second to many streams', axis: 'CPU of the server, µs a delivery (log)', field: 'microsPerDelivery', logarithmic: true },
  { section: 'burst', file: 'burst-latency', title: 'Latency in the burst', axis: 'p99, ms (log)', field: 'p99Ms', logarithmic: true },
  { section: 'idle', file: 'memory', title: 'Memory of an idle stream', axis: 'resident, KB a stream', field: 'rssKB', goal: 20 },
  { section: 'latency', file: 'latency', title: 'Publish to client, idle', axis: 'p99, ms', field: 'p99Ms' },
  { section: 'publish', file: 'publish', title: 'Publishing', axis: 'CPU, µs a notification', field: 'micros' },
  { section: 'scaling', file: 'scaling', title: 'The same clients on one, two, three nodes', axis: 'CPU of all nodes, µs a delivery', field: 'microsPerDelivery' }
]

const colours: Record<string, string> = { floor: '#9aa0a6', tidings: '#1a73e8', peer: '#e8a33d' }

function kindOf (name: string): string {
  if (/^(c|node)-floor(-\d+)?$/.test(name) || name === 'empty-route' || name === 'fcall') return 'floor'
  return name.startsWith('tidings') || name.startsWith('publish') ? 'tidings' : 'peer'
}

function bars ({ title, axis, field, logarithmic = false, goal }: Picture, { rows }: SectionResult, subtitle: readonly string[]): object | undefined {
  const values = rows.filter(({ rounds }) => rounds.length > 0).map((row) => {
    const all = row.rounds.map((result) => result[field] as number)
    return { row: row.title, kind: kindOf(row.name), value: median(all), least: Math.min(...all), most: Math.max(...all) }
  })
  if (values.length === 0) return undefined
  const x = (what: string): object => ({ field: what, type: 'quantitative', title: axis, scale: { type: logarithmic ? 'log' : 'linear' } })
  const y = { field: 'row', type: 'nominal', sort: null, title: null }
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    title: { text: title, subtitle, anchor: 'start' },
    background: 'white',
    config: { axis: { labelLimit: 360 } },
    width: 460,
    height: { step: 24 },
    data: { values },
    layer: [
      {
        // A bar needs a foot, which a logarithmic axis does not have.
        mark: logarithmic ? { type: 'point', filled: true, size: 90 } : { type: 'bar', height: 14 },
        encoding: { x: x('value'), y, color: { field: 'kind', type: 'nominal', legend: null, scale: { domain: Object.keys(colours), range: Object.values(colours) } } }
      },
      { mark: { type: 'rule', strokeWidth: 1.5 }, encoding: { x: x('least'), x2: { field: 'most' }, y } },
      {
        mark: { type: 'text', align: 'left', dx: 6, fontSize: 11 },
        encoding: { x: x('most'), y, text: { field: 'value', type: 'quantitative', format: ',.3~r' } }
      },
      ...goal === undefined ? [] : [{ mark: { type: 'rule', strokeDash: [4, 3], color: '#c5221f' }, encoding: { x: { datum: goal, type: 'quantitative' } } }]
    ]
  }
}

/** Memory over many connects and disconnects. */
function growth ({ rows }: SectionResult, subtitle: readonly string[]): object | undefined {
  const values = rows.flatMap(({ title, rounds }) => rounds.slice(0, 1).flatMap(({ residentMB, connects }: { residentMB: number[], connects: number }) =>
    residentMB.map((mb, step) => ({ row: title, connects: connects * step / (residentMB.length - 1), mb }))))
  if (values.length === 0) return undefined
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    title: { text: 'Memory while clients come and go', subtitle, anchor: 'start' },
    background: 'white',
    width: 460,
    height: 200,
    data: { values },
    mark: { type: 'line', point: true },
    encoding: {
      x: { field: 'connects', type: 'quantitative', title: 'connects and disconnects so far' },
      y: { field: 'mb', type: 'quantitative', title: 'resident, MB, garbage collected', scale: { zero: true } },
      color: { field: 'row', type: 'nominal', title: null, legend: { orient: 'bottom' } }
    }
  }
}

function newest (): string {
  const file = globSync('*.json', { cwd: join(import.meta.dirname, '../results') }).sort().at(-1)
  if (file === undefined) refuse('There is no result in bench/results; make one: npm run bench', usage)
  return join(import.meta.dirname, '../results', file)
}

function read (file: string): { head: Head, sections: SectionResult[] } {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    refuse(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`, usage)
  }
  try {
    const { head, sections } = JSON.parse(text) as { head: Head, sections: SectionResult[] }
    if (typeof head.cpu === 'string' && Array.isArray(sections)) return { head, sections }
  } catch {}
  return refuse(`${file} is no result of npm run bench`, usage)
}

const [source, target] = readCommandLine(usage, {}, 2).positionals
const { head, sections } = read(source ?? newest())
installPackages()
const vega = await load('vega')
const vegaLite = await load('vega-lite')
const folder = resolve(target ?? join(import.meta.dirname, '../../docs/plots'))
mkdirSync(folder, { recursive: true })

async function draw (file: string, spec: object | undefined): Promise<void> {
  if (spec === undefined) return
  const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: 'none' })
  writeFileSync(join(folder, `${file}.svg`), `${await view.toSVG()}\n`)
  console.log(join(folder, `${file}.svg`))
}

const machine = `${head.cpu}, ${head.cores} cores, Node ${head.versions['node']}, ${head.date.slice(0, 10)}`
for (const picture of pictures) {
  const result = sections.find(({ section }) => section === picture.section)
  if (result !== undefined) await draw(picture.file, bars(picture, result, [result.title, machine]))
}
const churned = sections.find(({ section }) => section === 'churn')
if (churned !== undefined) await draw('churn', growth(churned, [churned.title, machine]))
