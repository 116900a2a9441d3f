// The publishing programs of examples/clients, where REDIS_URL has a user, a password and a database.
import t from 'tap'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { PASSWORD, recipesOf } from '../security/recipes.ts'
import { publishers } from './programs.ts'
import { each, run } from './run.ts'

t.test('publishers, with a login and a database in REDIS_URL: they publish there, and not into database 0', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('ACL', 'SETUSER', 'default', '>pass word/%')
  const issuer = createIssuer()
  const REDIS_URL = redis.url.replace('://', '://default:pass%20word%2F%25@') + '/2'
  const { url } = await startNode(t, { env: { ...issuer.env, REDIS_URL } })
  await redis.cli('AUTH', 'pass word/%')
  await each(Object.entries(publishers), async ([name, line]) => {
    const to = `user:${name}`
    const { code, err } = await run(line, { ...issuer.env, TIDINGS_BASE: url, TIDINGS_TO: to, REDIS_URL })
    t.equal(code, 0, `${name}: ${err.slice(0, 500)}`)
    await redis.cli('SELECT', 0)
    t.equal(await redis.cli('XLEN', `tidings:log:${to}`), 0, `${name}: nothing in database 0`)
  })
  await redis.cli('SELECT', 2)
  for (const name of Object.keys(publishers)) t.equal(await redis.cli('XLEN', `tidings:log:user:${name}`), 2, `${name}: over HTTP and through Redis`)
})

t.test('publishers, as a user that may publish and nothing else, and where the database is not there: they publish, and else say why not', async (t) => {
  const redis = await startRedis(t, { own: true })
  const issuer = createIssuer()
  const { url } = await startNode(t, { env: { ...issuer.env, REDIS_URL: redis.url } })
  for (const recipe of recipesOf('security.md')) await redis.cli('ACL', 'SETUSER', ...recipe)
  await each(Object.entries(publishers), async ([name, line]) => {
    for (const [place, isThere] of [['', true], ['/0', true], ['/99', false]] as const) {
      const login = isThere ? `orders:${encodeURIComponent(PASSWORD)}@` : ''
      const to = `user:${name}${place}`
      const { code, err } = await run(line, { ...issuer.env, TIDINGS_BASE: url, TIDINGS_TO: to, REDIS_URL: redis.url.replace('://', `://${login}`) + place })
      t.equal(code === 0, isThere, `${name}, ${place}: ${err.slice(0, 500)}`)
      if (!isThere) t.match(err, /out of range/, name)
      t.equal(await redis.cli('XLEN', `tidings:log:${to}`), isThere ? 2 : 1, `${name}, ${place}`)
    }
  })
})
