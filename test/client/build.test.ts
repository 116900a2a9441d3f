// client/dist: what is served is what the sources make, and stays as small as is promised.
import t from 'tap'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { makeFolder } from '../fixtures/process.ts'

const root = join(import.meta.dirname, '../..')
const served = readFileSync(join(root, 'client/dist/tidings.js'))

t.test('dist/tidings.js, built anew, is the file of the repository (npm run build:client)', async (t) => {
  const folder = makeFolder(t)
  execFileSync(process.execPath, [join(root, 'scripts/build-client.ts'), folder])
  t.equal(readFileSync(join(folder, 'tidings.js'), 'utf8'), served.toString())
  t.match(readFileSync(join(folder, 'tidings.d.ts'), 'utf8'), 'export declare function connect')
  // A component that returns a ReactNode is none for TypeScript before 5.1.
  t.match(readFileSync(join(folder, 'react.d.ts'), 'utf8'), /function TidingsProvider\(.*\): ReactElement;/)
})

t.test('dist/tidings.js, minified and zipped, has at most 5 KB (5,120 bytes) and imports nothing', async (t) => {
  const { length } = gzipSync(served, { level: 9 })
  t.comment(`${served.length} bytes, ${length} zipped`)
  t.ok(length <= 5 * 1024, `${length} bytes`)
  t.notMatch(served.toString(), /\bimport\b|\beval\b|new Function|localStorage/)
})

t.test('connect(), where there is no page (a server that renders one), does nothing and does not fail', async (t) => {
  // Before Node 21 there is none.
  t.intercept(globalThis, 'navigator', { value: undefined })
  const { connect } = await import(new URL('../../client/dist/tidings.js', import.meta.url).href)
  const tidings = connect({ url: '/tidings' })
  t.equal(tidings.state, 'connecting')
  const off = tidings.on('message', () => t.fail('called'))
  tidings.subscribe(() => {})
  tidings.useHere()
  t.equal(await tidings.once('1', () => t.fail('called')), false)
  off()
  tidings.close()
  t.equal(tidings.state, 'closed')
})
