// One version: what package.json says is what the service says, and what is shipped beside it carries the same; and CI has one list of steps.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { version } from '../src/version.ts'

const root = join(import.meta.dirname, '..')
const text = (path: string): string => readFileSync(join(root, path), 'utf8')

t.test('version, wherever it is told: that of package.json', async (t) => {
  t.match(version, /^\d+\.\d+\.\d+/)
  t.equal(JSON.parse(text('package-lock.json')).version, version)
  t.equal(JSON.parse(text('client/package.json')).version, version)
  t.equal(parse(text('ops/helm/tidings/Chart.yaml')).appVersion, version)
  t.match(text('CHANGELOG.md'), `## [${version}]`)
  t.notMatch(text('src/app.ts'), version, 'the OpenAPI page reads it')
})

t.test('the workflow runs every step of .ci/run, and no other', async (t) => {
  const [, all = ''] = /^all='([^']+)'$/m.exec(text('.ci/run'))!
  const { jobs } = parse(text('.github/workflows/ci.yml'))
  const run = new Set<string>(jobs.step.strategy.matrix.include.flatMap(({ steps }: { steps: string }) => steps.split(' ')))
  t.same([...run].toSorted(), [...all.split(' '), 'audit'].toSorted())
  const { status, stderr } = spawnSync(join(root, '.ci/run'), ['meteor'], { encoding: 'utf8' })
  t.equal(status, 2)
  t.match(stderr, 'there is no step "meteor"')
})
