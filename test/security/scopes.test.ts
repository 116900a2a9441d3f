// Who may publish what: a scope opens exactly what it names.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { startNodes } from './nodes.ts'

const redis = await startRedis(t, { started: false })
const all = await startNodes(t, 'memory', redis, { count: 1 })
const publish = async (scope: unknown, to: string | string[]) => await all.call('POST', '/api/notifications', { token: all.token({ sub: 'service', scope }), body: { to, data: 1 } })

const ADDRESSES = ['all', 'user:42', 'user:all', 'user:a b', 'user:a:b', 'group:Complaints', 'group:complaints', 'group:Complaints2', 'group:Sales: north', 'group:user:42', 'group:100%', 'group:a%20b', 'group:Züri', 'group:R&D/Süd (1)!']

// scope → the addresses of ADDRESSES that it may publish to
const table: Record<string, string[]> = {
  'notifications:publish': ADDRESSES,
  'notifications:publish:all': ['all'],
  'notifications:publish:user': ADDRESSES.filter((to) => to.startsWith('user:')),
  'notifications:publish:group': ADDRESSES.filter((to) => to.startsWith('group:')),
  'notifications:publish:user:42': ['user:42'],
  'notifications:publish:group:Complaints': ['group:Complaints'],
  'notifications:publish:user:a%20b': ['user:a b'],
  'notifications:publish:user:a:b': ['user:a:b'],
  'notifications:publish:user:a%3Ab': ['user:a:b'],
  'notifications:publish:group:Sales%3A%20north': ['group:Sales: north'],
  'notifications:publish:group:user:42': ['group:user:42'],
  'notifications:publish:group:100%25': ['group:100%'],
  // The encoded name of one group is not the plain name of another.
  'notifications:publish:group:a%20b': [],
  'notifications:publish:group:a%2520b': ['group:a%20b'],
  'notifications:publish:group:100%': [],
  'notifications:publish:group:Z%C3%BCri': ['group:Züri'],
  'notifications:publish:group:Züri': ['group:Züri'],
  // However the language of the issuer writes it: all of it is one name.
  'notifications:publish:group:R%26D%2FS%C3%BCd%20(1)!': ['group:R&D/Süd (1)!'],
  'notifications:publish:group:R%26D%2fS%c3%bcd%20%281%29%21': ['group:R&D/Süd (1)!'],
  'notifications:publish:group:%43omplaints': ['group:Complaints'],
  'notifications:publish%3Agroup': [],
  'notifications%3Apublish': [],
  'notifications:publish:all:': [],
  'notifications:publish:group%3AComplaints': [],
  'notifications:publish:group:%C3': [],
  // Two scopes are the sum of both.
  'notifications:publish:all notifications:publish:user:42': ['all', 'user:42'],
  'openid notifications:publish:group:Complaints email': ['group:Complaints'],
  // None of these is one.
  'notifications:publish:': [],
  'notifications:publish:user:': [],
  'notifications:publish:group:': [],
  'notifications:publish:*': [],
  'notifications:publish:group:*': [],
  'notifications:publish:group:Compl': [],
  'notifications:publish:Group:Complaints': [],
  'notifications:publish:users': [],
  'notifications:publish:all:x': [],
  'notifications:publish:admin': [],
  'notifications:publisher': [],
  'notifications:PUBLISH': [],
  'notifications:manage': [],
  notifications: [],
  '*': [],
  '': [],
  'notifications:publish,notifications:publish:all': []
}

for (const [scope, allowed] of Object.entries(table)) {
  t.test(`scope "${scope}", opens ${allowed.length === ADDRESSES.length ? 'everything' : allowed.join(', ') || 'nothing'}`, async (t) => {
    for (const to of ADDRESSES) {
      const answer = await publish(scope, to)
      if (allowed.includes(to)) t.equal(answer.status, 202, to)
      else t.match(answer, { status: 403, body: { code: 'TIDINGS_SCOPE_MISSING' } }, to)
    }
  })
}

t.test('scope of one kind, several addresses, one of which is not covered: nothing is published', async (t) => {
  const client = all.client(t, { sub: '42', groups: ['Complaints'] })
  await client.live()
  const scope = 'notifications:publish:user:42'
  t.match(await publish(scope, ['user:42', 'group:Complaints']), { status: 403, body: { message: /notifications:publish:group:Complaints/ } }, 'it says which scope is missing')
  t.equal((await publish(scope, ['user:42', 'all'])).status, 403)
  t.equal((await publish(scope, ['user:42', 'user:42'])).status, 202)
  t.equal((await publish('notifications:publish', 'user:42')).status, 202)
  await client.next()
  await client.next()
  t.equal(client.notifications.length, 2, 'what was refused has not come')
})

t.test('scope, missing for an address with a space: the message names it as a token can carry it', async (t) => {
  const { body } = await publish('notifications:publish:user:x', 'group:Sales: north')
  const scope = /"([^"]+)"/.exec(body.message)![1]!
  t.notMatch(scope, / /)
  t.equal((await publish(scope, 'group:Sales: north')).status, 202)
})

t.test('scope that is no string, is a bad token', async (t) => {
  for (const scope of [['notifications:publish'], { 'notifications:publish': 1 }, 1, null]) t.equal((await publish(scope, 'all')).status, 401, JSON.stringify(scope))
})

t.test('Idempotency-Key, of another publisher or after the scope was taken away, tells nothing', async (t) => {
  const headers = { 'idempotency-key': 'k-1' }
  const send = async (sub: string, scope: string) => await all.call('POST', '/api/notifications', { token: all.token({ sub, scope }), body: { to: 'user:42', data: 1 }, headers })
  const first = await send('a', 'notifications:publish')
  t.equal(first.status, 202)
  t.equal((await send('a', 'notifications:publish:group')).status, 403)
  const other = await send('b', 'notifications:publish')
  t.not(other.body.notifications[0].id, first.body.notifications[0].id)
  t.same((await send('a', 'notifications:publish')).body, first.body)
})
