// GET /client.js and its versioned path, as a browser and a cache see them.
import t from 'tap'
import { readFileSync } from 'node:fs'
import { startService } from '../http/service.ts'

const plain = readFileSync(new URL('../../client/dist/tidings.js', import.meta.url), 'utf8')
const { url } = await startService(t, { env: { CORS_ORIGINS: 'https://app.example' } })
const get = async (path: string, headers: Record<string, string> = {}) => await fetch(`${url}${path}`, { headers })

t.test('/client.js: the module, for every origin, asked for anew each time', async (t) => {
  const answer = await get('/client.js', { origin: 'https://app.example' })
  t.equal(await answer.text(), plain)
  t.match(Object.fromEntries(answer.headers), {
    'content-type': 'text/javascript; charset=utf-8',
    'content-encoding': 'gzip',
    'cache-control': 'no-cache',
    'access-control-allow-origin': '*',
    'cross-origin-resource-policy': 'cross-origin',
    'x-content-type-options': 'nosniff',
    vary: /accept-encoding/i
  })
  t.equal(answer.headers.get('access-control-allow-credentials'), null)
  const same = await get('/client.js', { 'if-none-match': answer.headers.get('etag')! })
  t.equal(same.status, 304)
  const bare = await get('/client.js', { 'accept-encoding': 'gzip;q=0' })
  t.equal(bare.headers.get('content-encoding'), null)
  t.equal(await bare.text(), plain)
})

t.test('/client/<version>.js: kept for ever under its own name, and what there is under another one', async (t) => {
  const version = /"(.+)"/.exec((await get('/client.js')).headers.get('etag')!)![1]!
  const mine = await get(`/client/${version}.js`)
  t.equal(mine.headers.get('cache-control'), 'public, max-age=31536000, immutable')
  t.equal(await mine.text(), plain)
  const other = await get('/client/another.js')
  t.equal(other.headers.get('cache-control'), 'no-cache')
  t.equal(await other.text(), plain)
})
