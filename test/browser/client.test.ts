// The browser module in Chromium: a stream, shared by all tabs of one user, handed over without a hole or a double.
import t from 'tap'
import { openDoor } from '../fixtures/door.ts'
import { startBrowser } from '../fixtures/browser.ts'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { chromiumWindow, PAGE, startTab, type Tab } from '../fixtures/tabs.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import type { Scope } from '../fixtures/wait.ts'

const redis = await startRedis(t)
const issuer = createIssuer()
const node = await startNode(t, { env: { ...redis.env, ...issuer.env, HEARTBEAT_SECONDS: '1', RETRY_MS: '200' } })
const operator = issuer.token({ sub: 'operator', scope: PUBLISH })
const browser = await startBrowser(t)
let users = 0

async function publish (to: string, data: unknown): Promise<string> {
  const answer = await fetch(`${node.url}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json' }, body: JSON.stringify({ to, data })
  })
  const { notifications } = await answer.json() as { notifications: { id: string }[] }
  return notifications[0]!.id
}

/** A front door of its own, and in the browser the cookie of a user of its own. */
async function lab (t: Scope) {
  const user = `user-${++users}`
  const door = await openDoor(t, { target: node.url, page: PAGE })
  const cookie = async (claims = {}) => {
    await browser.addCookies([{ name: 'tidings_token', value: issuer.token({ sub: user, ...claims }), url: door.url, httpOnly: true }])
  }
  await cookie()
  let tabs = 0
  return {
    user,
    door,
    cookie,
    to: `user:${user}`,
    tab: async (options: string | null = '{}'): Promise<Tab & { page: any }> => {
      const window = await chromiumWindow(t, browser, `${door.url}/page`)
      return { ...window, ...await startTab(window, `tab ${++tabs}`, options) }
    }
  }
}

t.test('one tab: connects, receives by name and by *, knows the id', async (t) => {
  const { door, tab, to } = await lab(t)
  const one = await tab()
  await one.until('tidings.state === "live"')
  const id = await publish(to, { n: 1 })
  await one.until('got().length === 1')
  t.match(await one.run('return got()[0]'), { id, event: 'message', json: { n: 1 }, isReplay: false })
  t.match(await one.run('return own("sync")[0].json'), { resume: 'fresh' })
  t.same(await one.run('return states'), ['connecting', 'live'])
  t.equal(door.open.length, 1)
  await one.run('tidings.close()')
  await door.until(() => door.open.length === 0 ? true : undefined, 'no stream')
  t.equal(await one.state(), 'closed')
})

t.test('three tabs: one stream, each gets each once; the leader is closed, the next goes on from the last id', async (t) => {
  const { door, tab, to } = await lab(t)
  const tabs = [await tab(), await tab(), await tab()]
  for (const one of tabs) await one.until('tidings.state === "live"')
  t.equal(door.streams.length, 1)
  const ids = [await publish(to, { n: 1 })]
  for (const one of tabs) await one.until('got().length === 1')
  await tabs[0]!.close()
  ids.push(await publish(to, { n: 2 }))
  await door.until(() => door.streams.length === 2 ? true : undefined, 'the second stream')
  ids.push(await publish(to, { n: 3 }))
  for (const one of tabs.slice(1)) {
    await one.until('got().length === 3')
    t.same(await one.run('return got().map(({ id }) => id)'), ids)
  }
  t.equal(door.streams[1]!.lastEventId, ids[0])
  t.equal(door.open.length, 1)
})
