// The npm scripts that are ours, each with --help and with what it does not know: a sentence, no stack, and nothing is begun.
import { execFile } from 'node:child_process'
import { globSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..')
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
/** A node takes settings from the environment alone. What npm runs before another script, nobody calls. */
const others = ['start', ...Object.keys(scripts).filter((name) => name.startsWith('pre'))]
const ours = Object.entries(scripts).flatMap(([name, line]) => {
  const [, file] = /^(?:exec )?node (\S+\.ts)$/.exec(line) ?? []
  return file === undefined || others.includes(name) ? [] : [[name, file] as const]
})

interface Ended { code: number | null, out: string, err: string }

async function run (file: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
  return await new Promise((resolve) => {
    execFile(process.execPath, [file, ...args], { cwd: root, env: { ...process.env, ...env }, timeout: 60_000, killSignal: 'SIGKILL' }, (error, out, err) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, out, err })
    })
  })
}

/** Where scripts write: every name, and of what `ops:files` makes when it was written. (Other tests run at the same time.) */
const written = (): string[] => globSync(['*', 'ops/**/*', 'client/dist/*', 'docs/**/*', 'bench/{results,peers}/*'], { cwd: root }).sort()
  .map((path) => path.startsWith('ops/') ? `${path} ${statSync(join(root, path)).mtimeMs}` : path)

const STACK = /^ +at |node:internal/m

t.test('npm scripts: those that are ours are found', async (t) => {
  t.same(ours.map(([name]) => name).sort(), ['bench', 'bench:plot', 'build:client', 'capacity', 'chaos', 'demo', 'functions', 'ops:files', 'partitions', 'rollout', 'token', 'why'])
})

for (const [name, file] of ours) {
  t.test(`npm run ${name}, with --help and with what it does not know: says so, and begins nothing`, async (t) => {
    const before = written()
    const asked = run(file, ['--help'])
    const refused = await run(file, ['--rubbish'])
    t.ok((refused.code === 1 || refused.code === 2) && refused.out === '', `${refused.code} ${refused.out}`)
    t.match(refused.err, /Unknown option '--rubbish'/)
    t.match(refused.err, /npm run |Try --help/, 'where to find what it takes')
    t.notMatch(refused.err, STACK)
    const { code, out, err } = await asked
    t.same([code, err], [0, ''], 'help is no fault')
    t.match(out, new RegExp(`npm run (-s )?${name}\\b`))
    t.same(written(), before)
  })
}

t.test('npm scripts, with values that cannot be: each says which, in a sentence', async (t) => {
  const faults: Array<[string, string[], RegExp, Record<string, string>?]> = [
    ['functions', ['rubbish'], /Unexpected argument 'rubbish'/],
    ['rollout', ['--nodes', 'abc'], /^--nodes must be a whole number from 1 to 100, not "abc"\./],
    ['rollout', ['--nodes', '-1'], /^--nodes .* not "-1"\./],
    ['rollout', ['--values', 'x'], /^--values must be one of .*, not "x"\./],
    ['bench:plot', ['/no/such/file.json'], /^\/no\/such\/file\.json cannot be read \(ENOENT\)\./],
    ['bench:plot', ['package.json'], /^package\.json is no result of npm run bench\./],
    ['bench:plot', ['README.md'], /^README\.md is no result of npm run bench\./],
    ['capacity', ['--history-length', '10.5'], /^--history-length 10\.5: must be a whole number\. npm/],
    ['capacity', ['--users', '-5'], /^--users -5: not a number that makes sense here\. npm/],
    ['capacity', ['--users'], /^--users wants a value\. npm/],
    ['partitions', ['--from', '1', '--to', '2', '--to', '4'], /^--to stands twice\./],
    ['demo', [], /PORT must be .*"rubbish"/, { PORT: 'rubbish' }],
    ['chaos', ['--seed', 'x'], /\n--seed: a whole number from 0 to 4294967295, not "x"\n$/]
  ]
  await Promise.all(faults.map(async ([name, args, said, env]) => {
    const { code, out, err } = await run(ours.find(([other]) => other === name)![1], args, env)
    t.ok((code === 1 || code === 2) && out === '', `${name} ${args.join(' ')}: ${code} ${out}`)
    t.match(err, said)
    t.notMatch(err, STACK)
  }))
})

t.test('npm run functions, piped into what ends without reading: leaves the word to that', async (t) => {
  const err = await new Promise<string>((resolve) => {
    execFile('sh', ['-c', '"$1" scripts/print-library.ts | true', 'sh', process.execPath], { cwd: root }, (_error, _out, err) => { resolve(err) })
  })
  t.equal(err, '')
})
