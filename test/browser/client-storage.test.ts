// The browser module where the user lets no site keep anything: no cookies, no storage, no locks.
import t from 'tap'
import { startGround, startVisitor } from '../fixtures/client-lab.ts'

const ground = await startGround(t, { CORS_ORIGINS: 'http://unused.example' }, 'chromium', { forbidsStorage: true, args: ['--host-resolver-rules=MAP *.example 127.0.0.1'] })

t.test('storage forbidden: a stream each tab, with a token; live again after a cut', async (t) => {
  const { door, tab, to, token, signOut } = await startVisitor(t, ground)
  signOut()
  const options = `{ token: async () => '${token()}' }`
  const tabs = [await tab(options), await tab(options)]
  for (const one of tabs) await one.until('tidings.state === "live"')
  const why = await tabs[0]!.run('try { localStorage.x } catch ({ name }) { return name }')
  t.equal(why, 'SecurityError')
  t.comment(await tabs[0]!.run('return await navigator.locks.request("x", () => "locks are given").catch(({ name }) => name)'))
  await ground.publish(to, { n: 1 })
  for (const one of tabs) await one.until('got().length === 1')
  door.cut()
  await ground.publish(to, { n: 2 })
  for (const one of tabs) {
    await one.until('got().length === 2 && tidings.state === "live"', 3000)
    t.same(await one.run('return got().map(({ json }) => json.n)'), [1, 2])
    t.same(await one.run('return errors'), [])
  }
})
