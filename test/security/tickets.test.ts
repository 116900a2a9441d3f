// Tickets: no token in a URL, one use, 30 seconds, any node; and a spent one is worth nothing without the pass that its stream set.
import t from 'tap'
import type { Client } from '../fixtures/client.ts'
import { startRedis } from '../fixtures/redis.ts'
import { MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { passOf, onBoth, startNodes, type Nodes } from './nodes.ts'

const SUBSCRIBE = '/api/notifications/subscribe'
const redis = await startRedis(t)
const now = (): number => Math.floor(Date.now() / 1000)

/** Opens with a ticket, at a node; the cookie header that a browser would send from then on. */
async function open (all: Nodes, t: any, ticket: string, node = 0): Promise<{ client: Client, cookie: string, name: string, value: string, attributes: string[] }> {
  const client = all.bare(t, { node, query: { ticket }, reconnect: false })
  await client.live()
  const { name, value, attributes } = passOf(client)
  return { client, cookie: `${name}=${value}`, name, value, attributes }
}

/** The answer to a stream that is asked for with this ticket and this cookie. */
async function ask (all: Nodes, ticket: string, { cookie, node = 0, headers = {} }: { cookie?: string, node?: number, headers?: Record<string, string> } = {}) {
  return await all.call('GET', `${SUBSCRIBE}?ticket=${encodeURIComponent(ticket)}`, { node, token: null, headers: { ...headers, ...(cookie !== undefined && { cookie }) } })
}

onBoth(t, 'ticket, used once, opens the stream on any node; used again it is refused', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const answer = await all.call('POST', '/api/notifications/tickets', { token: all.token({ sub: 'ann', groups: ['Complaints'] }) })
  t.match(answer, { status: 201, body: { ticket: /^0\.[\w-]{16}\.\d+\.[\w-]{43}$/, expiresIn: 30 } })
  t.equal(answer.headers.get('cache-control'), 'no-store')
  const { client } = await open(all, t, answer.body.ticket, 1)
  t.same(client.syncs[0]!.json.groups, ['Complaints'], 'it brings the groups of the token')
  for (const node of [0, 1]) t.match(await ask(all, answer.body.ticket, { node }), { status: 401, body: { code: 'TIDINGS_BAD_TICKET' } })
})

onBoth(t, 'ticket, used ten times at once on two nodes, lets one in', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const ticket = await all.ticket({ sub: 'ann' })
  const clients = Array.from({ length: 10 }, (_, i) => all.bare(t, { node: i % 2, query: { ticket }, reconnect: false }))
  const statuses = await Promise.all(clients.map(async (client) => (await client.opened()).status))
  t.same(statuses.filter((status) => status === 200).length, 1, statuses.join())
})

onBoth(t, 'ticket, not used for 30 seconds, is refused', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const [early, late] = [await all.ticket({ sub: 'ann' }), await all.ticket({ sub: 'ann' })]
  await all.pass(16)
  await open(all, t, early)
  await all.pass(15)
  t.match(await ask(all, late), { status: 401, body: { code: 'TIDINGS_BAD_TICKET' } })
})

onBoth(t, 'ticket, made up, is refused', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const good = await all.ticket({ sub: 'ann' })
  for (const ticket of ['', 'x', `${good}x`, good.slice(1), good.toLowerCase() === good ? 'A' : good.toLowerCase(), '__proto__', 'a'.repeat(8000), '\0', '*']) {
    t.match(await ask(all, ticket), { status: 401, body: { code: 'TIDINGS_BAD_TICKET' } }, ticket.slice(0, 20))
  }
  t.equal((await all.call('GET', `${SUBSCRIBE}?ticket=x&ticket=${good}`, { token: null })).status, 401, 'of two the first counts')
  t.equal((await open(all, t, good)).client.state, 'open', 'the good one is not spent by that')
})

onBoth(t, 'ticket, of one user, opens that user\'s stream and nothing else', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const ticket = async () => await all.ticket({ sub: 'ann', scope: PUBLISH })
  t.match(await all.call('GET', `${SUBSCRIBE}/bob?ticket=${await ticket()}`, { token: null }), { status: 403, body: { code: 'TIDINGS_NOT_YOUR_STREAM' } })
  t.equal((await all.call('POST', `/api/notifications?ticket=${await ticket()}`, { token: null, body: { to: 'all', data: 1 } })).status, 401, 'it publishes nothing')
  t.equal((await all.call('POST', `/api/notifications/tickets?ticket=${await ticket()}`, { token: null })).status, 401, 'and makes no ticket')
  t.equal((await all.call('POST', '/api/notifications/tickets', { token: await ticket() })).status, 401, 'it is no token')
  const both = all.client(t, { sub: 'bob', groups: ['bob'] }, { query: { ticket: await ticket() }, path: `${SUBSCRIBE}/ann` })
  t.same((await both.live()).json.groups, [], 'beside a token of another user it is the ticket that counts, whole')
  t.match(await all.call('GET', `${SUBSCRIBE}?ticket=x`, { token: all.token() }), { status: 401 }, 'a good token does not make up for a bad one')
})

onBoth(t, 'ticket, spent, with the pass of its stream, resumes complete on another node', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const ticket = await all.ticket({ sub: 'ann', groups: ['Complaints'] })
  const { client, cookie } = await open(all, t, ticket)
  const lastEventId = client.lastEventId
  client.close()
  await all.call('POST', '/api/notifications', { body: { to: 'group:Complaints', data: 'missed' } })
  for (let times = 0; times < 3; times++) {
    const again = all.bare(t, { node: 1 - times % 2, query: { ticket }, lastEventId, headers: { Cookie: `a=1; ${cookie}; b=2` } })
    t.match((await again.live()).json, { resume: 'complete', replayed: 1, groups: ['Complaints'] })
    t.notOk(again.connection.headers['set-cookie'], 'the pass is not made again')
  }
})

onBoth(t, 'ticket, spent, without the pass or with another one, is refused', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const ticket = await all.ticket({ sub: 'ann' })
  const { name, value } = await open(all, t, ticket)
  const bob = await open(all, t, await all.ticket({ sub: 'bob' }))
  const bad = {
    none: undefined,
    'another user\'s': bob.cookie,
    'another user\'s, under this one\'s name': `${name}=${bob.value}`,
    'this one\'s, under another name': `tidings_pass=${value}`,
    'made up': `${name}=${'A'.repeat(43)}`,
    empty: `${name}=`,
    'the ticket itself': `${name}=${ticket}`,
    'the user id': `${name}=ann`
  }
  for (const [what, cookie] of Object.entries(bad)) {
    t.match(await ask(all, ticket, { node: 1, ...(cookie !== undefined && { cookie }) }), { status: 401, body: { code: 'TIDINGS_BAD_TICKET' } }, what)
  }
  t.match(await ask(all, 'x', { cookie: `${name}=${value}` }), { status: 401 }, 'a pass without a ticket')
  t.match(await ask(all, ticket.replace(/[^.]+$/, 'A'.repeat(43)), { cookie: `${name}=${value}` }), { status: 401 }, 'a pass with a ticket of the same place, made up')
  t.match(await all.call('GET', SUBSCRIBE, { token: null, headers: { cookie: `${name}=${value}` } }), { status: 401 }, 'a pass alone')
})

onBoth(t, 'ticket, spent, with its pass but from a foreign page, is refused', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { CORS_ORIGINS: 'https://app.example' } })
  const ticket = await all.ticket({ sub: 'ann' })
  const { cookie } = await open(all, t, ticket)
  for (const headers of [{ origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, { origin: 'null' }, { 'sec-fetch-site': 'same-site' }] as Record<string, string>[]) {
    t.match(await ask(all, ticket, { cookie, headers }), { status: 403, body: { code: 'TIDINGS_CROSS_SITE' } }, JSON.stringify(headers))
  }
  for (const headers of [{ origin: 'https://app.example' }, { 'sec-fetch-site': 'same-origin' }] as Record<string, string>[]) {
    const again = all.bare(t, { query: { ticket }, headers: { Cookie: cookie, ...headers } })
    await again.live()
  }
})

onBoth(t, 'pass, as a cookie, is HttpOnly, Secure, SameSite=Strict, for the stream\'s path, and as short-lived as the token', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { name, value, attributes } = await open(all, t, await all.ticket({ sub: 'ann', exp: now() + 600 }))
  t.match(name, /^tidings_pass_[\w-]{16}$/)
  t.match(value, /^[\w-]{43}$/)
  t.same(attributes.filter((one) => !one.startsWith('Max-Age')).sort(), ['HttpOnly', `Path=${SUBSCRIBE}`, 'SameSite=Strict', 'Secure'])
  const maxAge = Number(attributes.find((one) => one.startsWith('Max-Age'))!.split('=')[1])
  t.ok(maxAge > 590 && maxAge <= 601, `Max-Age=${maxAge}`)
})

onBoth(t, 'passes, of two users in one browser, do not push each other out', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const tickets = { ann: await all.ticket({ sub: 'ann' }), bob: await all.ticket({ sub: 'bob' }) }
  const jar = [await open(all, t, tickets.ann), await open(all, t, tickets.bob)].map(({ cookie }) => cookie).join('; ')
  for (const sub of ['ann', 'bob'] as const) {
    const again = all.bare(t, { node: 1, query: { ticket: tickets[sub] }, path: `${SUBSCRIBE}/${sub}`, headers: { Cookie: jar } })
    t.ok(await again.live(), sub)
  }
})

onBoth(t, 'passes, of two tabs of one user in one browser: the newer one stands in the cookie, and each goes with its ticket alone', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const older = await all.ticket({ sub: 'ann' })
  const { cookie: first } = await open(all, t, older)
  await all.pass(61)
  const { cookie } = await open(all, t, await all.ticket({ sub: 'ann' }))
  t.match(await ask(all, older, { cookie }), { status: 401, body: { code: 'TIDINGS_BAD_TICKET' } }, 'so the older tab gets a new ticket')
  await all.bare(t, { node: 1, query: { ticket: older }, headers: { Cookie: first } }).live()
})

onBoth(t, 'ticket and pass, at the token\'s end, end with it', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const exp = now() + 4
  const ticket = await all.ticket({ sub: 'ann', exp })
  const unused = await all.ticket({ sub: 'ann', exp })
  const { client, cookie } = await open(all, t, ticket)
  t.match(await client.next(({ event }) => event === 'expiring'), { json: { at: String } })
  const { endedAt, ending } = await client.ended()
  t.ok(endedAt, `the stream ended (${ending})`)
  t.equal((await ask(all, ticket, { cookie })).status, 401)
  await all.pass(9)
  t.match(await ask(all, unused), { status: 401, body: { code: 'TIDINGS_TOKEN_EXPIRED' } }, 'said for as long as the ticket would count')
})

onBoth(t, 'ticket, asked for with a token of 99 years, works', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const ticket = await all.ticket({ sub: 'ann', exp: now() + 99 * 365 * 86_400 })
  const { client, cookie } = await open(all, t, ticket)
  const again = all.bare(t, { query: { ticket }, headers: { Cookie: cookie }, lastEventId: client.lastEventId })
  t.match((await again.live()).json, { resume: 'complete' })
})

onBoth(t, 'tickets, past CONNECTS_PER_MINUTE, are 429; what was given out still opens a stream, which is not counted twice', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { CONNECTS_PER_MINUTE: '3' } })
  const given = [await all.ticket({ sub: 'ann' }), await all.ticket({ sub: 'ann' }, 1), await all.ticket({ sub: 'ann' })]
  for (const node of [0, 1]) {
    const refused = await all.call('POST', '/api/notifications/tickets', { node, token: all.token({ sub: 'ann' }) })
    t.match(refused, { status: 429, body: { code: 'TIDINGS_TOO_MANY_REQUESTS', message: /3 connects.*CONNECTS_PER_MINUTE/ } })
    t.match(refused.headers.get('retry-after'), /^[1-9]\d*$/)
  }
  for (const ticket of given) await open(all, t, ticket)
  t.ok(await all.ticket({ sub: 'bob' }), 'another user is not meant')
})

onBoth(t, 'ticket, brought while too many connect from one address, is not spent by that', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { CONNECTS_PER_MINUTE_PER_ADDRESS: '1', RETRY_MS: '1000' } })
  const [first, second] = [await all.ticket({ sub: 'ann' }), await all.ticket({ sub: 'ann' })]
  await open(all, t, first)
  t.match(await ask(all, second), { status: 200, body: /^retry: \d+\nevent: ping/ })
  await all.pass(12)
  t.match(await ask(all, second), { status: 200, body: /^retry: \d+\nevent: ping/ }, 'refused again')
  await all.pass(9)
  const { status } = await all.bare(t, { query: { ticket: second }, localAddress: '127.0.0.5', reconnect: false }).opened()
  t.equal(status, 200)
})

const INBOX = '/api/notifications'
/** A request to the inbox, or elsewhere, with a ticket as a header. */
async function inbox (all: Nodes, ticket: string, { method = 'GET', path = '', body, node = 0, headers = {} }: { method?: string, path?: string, body?: object, node?: number, headers?: Record<string, string> } = {}) {
  return await all.call(method, `${INBOX}${path}`, { node, token: null, headers: { ...headers, authorization: `Ticket ${ticket}` }, ...(body !== undefined && { body }) })
}

onBoth(t, 'ticket, as a header, is good for one request to its user\'s inbox, whichever, on any node', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  await all.call('GET', `${INBOX}/position`, { token: all.token({ sub: 'ann' }) })
  const { body: { notifications: [{ id }] } } = await all.call('POST', INBOX, { body: { to: 'user:ann', data: 'hers' } })
  for (const [i, [method, path, body]] of ([
    ['GET', ''], ['GET', '/position'], ['PUT', '/seen', { upTo: id }], ['PUT', `/${id}/read`], ['DELETE', `/${id}/read`], ['PUT', '/read', { upTo: id }], ['DELETE', `/${id}`]
  ] as Array<[string, string, object?]>).entries()) {
    const ticket = await all.ticket({ sub: 'ann' })
    const answer = await inbox(all, ticket, { method, path, node: i % 2, ...(body && { body }) })
    t.match(answer, { status: 200, body: { unread: Number } }, `${method} ${path}`)
    t.notOk(answer.headers.get('set-cookie'), 'no pass comes of it')
    if (path === '') t.match(answer.body.notifications, [{ id, data: 'hers' }])
    for (const node of [0, 1]) t.match(await inbox(all, ticket, { method, path, node, ...(body && { body }) }), { status: 401, body: { code: 'TIDINGS_BAD_TICKET' } })
    t.equal((await ask(all, ticket)).status, 401, 'nor does it open a stream')
  }
})

onBoth(t, 'ticket, as a header, used ten times at once on two nodes, answers one', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const ticket = await all.ticket({ sub: 'ann' })
  const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => inbox(all, ticket, { node: i % 2 })))
  t.same(answers.map(({ status }) => status).sort(), [200, ...Array(9).fill(401)])
})

onBoth(t, 'ticket, as a header, of another user, spent, old, made up, revoked, or at another route, is refused', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { CORS_ORIGINS: 'https://app.example' } })
  const ticket = async (claims = {}) => await all.ticket({ sub: 'ann', scope: `${PUBLISH} ${MANAGE}`, ...claims })
  const BAD = { status: 401, body: { code: 'TIDINGS_BAD_TICKET' } }
  await all.call('POST', INBOX, { body: { to: 'user:bob', data: 'his' } })
  const beside = await inbox(all, await ticket(), { headers: { cookie: `tidings_token=${all.token({ sub: 'bob' })}` } })
  t.match(beside, { status: 200, body: { notifications: [] } }, 'beside a cookie of another user it is the ticket that counts')
  t.match(await inbox(all, 'x', { headers: { cookie: `tidings_token=${all.token({ sub: 'ann' })}` } }), BAD, 'a good cookie does not make up for a bad ticket')
  for (const rubbish of ['', 'x', `${await ticket()}x`, '__proto__', 'a'.repeat(8000), '*', `${await ticket()} `.slice(1), all.token({ sub: 'ann' })]) t.match(await inbox(all, rubbish), BAD, rubbish.slice(0, 20))

  const spent = await ticket()
  const { cookie } = await open(all, t, spent)
  for (const headers of [{}, { cookie }] as Record<string, string>[]) t.match(await inbox(all, spent, { headers }), BAD, 'spent on a stream, with its pass or without')

  const TOKEN_MISSING = { status: 401, body: { code: 'TIDINGS_TOKEN_MISSING' } }
  for (const [method, path, body] of [['POST', '', { to: 'all', data: 1 }], ['POST', '/tickets'], ['POST', '/retract', { to: 'all', id: '1' }], ['GET', '/subscribe'], ['GET', '/../users/ann/groups']] as Array<[string, string, object?]>) {
    t.match(await inbox(all, await ticket(), { method, path, ...(body && { body }) }), TOKEN_MISSING, `${method} ${path}`)
  }
  for (const path of ['', '/position']) t.match(await all.call('GET', `${INBOX}${path}?ticket=${await ticket()}`, { token: null }), TOKEN_MISSING, 'in the URL')

  const exp = now() + 4
  const [ends, same] = [await ticket({ exp }), await ticket({ exp })]
  const { client } = await open(all, t, same)
  await client.ended()
  t.match(await inbox(all, ends), { status: 401, body: { code: 'TIDINGS_TOKEN_EXPIRED' } }, 'its token has ended')

  const [old, unused] = [await ticket(), await ticket()]
  t.equal((await all.call('DELETE', '/api/users/ann/streams')).status, 204)
  const current = all.token({ sub: 'ann', iat: now() + 1 })
  t.match(await inbox(all, unused, { headers: { cookie: `tidings_token=${current}` } }), { status: 401, body: { code: 'TIDINGS_TOKEN_REVOKED' } }, 'after a logout')
  t.equal((await all.call('GET', INBOX, { token: null, headers: { cookie: `tidings_token=${current}` } })).status, 200, 'the cookie beside it is none the worse')
  await all.pass(31)
  t.match(await inbox(all, old), BAD, 'older than 30 s')
})

onBoth(t, 'tickets, as headers, past INBOX_PER_MINUTE, are 429 as tokens are', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { INBOX_PER_MINUTE: '2' } })
  const statuses: number[] = []
  for (let i = 0; i < 3; i++) statuses.push((await inbox(all, await all.ticket({ sub: 'ann' }))).status)
  t.same(statuses, [200, 200, 429])
  t.match(await all.call('GET', INBOX, { token: all.token({ sub: 'ann' }) }), { status: 429, body: { code: 'TIDINGS_TOO_MANY_REQUESTS' } })
})

t.test('tickets, 200 of one user one after the other, leave a bounded number of passes', async (t) => {
  const all = await startNodes(t, 'redis', redis, { env: { CONNECTS_PER_MINUTE: '0', MAX_STREAMS_PER_USER: '5000' } })
  const token = all.token({ sub: 'ann', groups: Array.from({ length: 100 }, (_, i) => `group-${i}`) })
  for (let i = 0; i < 200; i++) {
    const { ticket } = (await all.call('POST', '/api/notifications/tickets', { token })).body
    const client = all.bare(t, { query: { ticket }, reconnect: false })
    await client.opened()
    client.close()
  }
  const keys = await redis.cli('KEYS', `${all.prefix}:kept:*`) as string[]
  const counted = (kind: string) => keys.filter((key) => key.includes(`:kept:${kind}:`)).length
  t.same([counted('pass'), counted('principal'), counted('ticket')], [128, 1, 0])
})

t.test('tickets and passes, in Redis, stand as hashes that nobody can use, and not for ever', async (t) => {
  const all = await startNodes(t, 'redis', redis)
  const ticket = await all.ticket({ sub: 'ann', exp: now() + 600 })
  const unused = await all.ticket({ sub: 'ann' })
  const { value } = await open(all, t, ticket)
  const keys = (await redis.cli('KEYS', `${all.prefix}:kept:*`) as string[]).sort()
  t.match(keys.map((key) => key.slice(all.prefix.length + 6).split(':')[0]), ['pass', 'principal', 'principal', 'ticket'])
  for (const key of keys) {
    const text = String(await redis.cli('GET', key))
    for (const secret of [ticket, unused, value, all.operator]) t.notOk(key.includes(secret) || text.includes(secret), `${key}: ${text}`)
    const ttl = Number(await redis.cli('TTL', key))
    t.ok(ttl > 0 && ttl <= 3601, `${key}: ${ttl} s`)
  }
})
