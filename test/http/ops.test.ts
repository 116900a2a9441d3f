// For whoever runs a node: /livez, /readyz, /metrics whose numbers move, /docs that tell the truth, and answers to what is not there.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { errorTable } from '../../src/errors.ts'
import { version } from '../../src/version.ts'
import { assertError, startService } from './service.ts'

const root = join(import.meta.dirname, '../..')

t.test('livez and readyz, a node that works: 200, without a token', async (t) => {
  const service = await startService(t)
  t.match(await service.call('GET', '/livez', { token: null }), { status: 200, body: { status: 'ok' } })
  t.match(await service.call('GET', '/readyz', { token: null }), { status: 200, body: { status: 'ready', broker: 'memory', detail: String } })
})

t.test('readyz, for streams: 200 unless the node is draining', async (t) => {
  const service = await startService(t)
  const statuses = async () => [(await service.call('GET', '/readyz', { token: null })).status, (await service.call('GET', '/readyz?for=streams', { token: null })).status]
  t.same(await statuses(), [200, 200])
  await service.app.hub.drain(0)
  t.same(await statuses(), [503, 503])
  const misspelt = await service.call('GET', '/readyz?for=stream', { token: null })
  assertError(t, misspelt, 'TIDINGS_BAD_REQUEST')
  t.match(misspelt.body.message, 'querystring/for must be "streams"', 'says which word it takes, so that no balancer asks something else unnoticed')
})

t.test('metrics: every number moves when its thing happens', async (t) => {
  const service = await startService(t)
  const names = [
    'tidings_streams', 'tidings_users', 'tidings_channels', 'tidings_broker_up', 'tidings_published_total', 'tidings_received_total', 'tidings_delivered_total',
    'tidings_replayed_total', 'tidings_streams_opened_total', 'tidings_publish_to_write_seconds_count'
  ] as const
  const read = async () => Object.fromEntries(await Promise.all(names.map(async (name) => [name, await service.metric(name)] as const)))
  t.same(await read(), Object.fromEntries(names.map((name) => [name, name === 'tidings_broker_up' ? 1 : 0])), 'a node that has just begun')

  const first = service.client(t, { groups: ['g'] }, { reconnect: false })
  const { id } = await first.live()
  const second = service.client(t)
  await second.live()
  await service.publish(['user:42', 'group:g', 'user:nobody'], 1)
  await service.publish('user:42', 2)
  for (const client of [first, second]) await client.next(({ json }) => json === 2)
  const now = await read()
  t.match(now, {
    tidings_streams: 2, tidings_users: 1, tidings_channels: 3, tidings_published_total: 4, tidings_received_total: 3, tidings_streams_opened_total: 2, tidings_publish_to_write_seconds_count: 2
  })
  t.equal(now.tidings_delivered_total, 4, 'two notifications, each to both streams of the user, who is in the group')
  first.close()
  await service.logged(({ msg }) => msg === 'stream end')
  await service.client(t, {}, { lastEventId: id! }).live()
  t.match(await read(), { tidings_replayed_total: 2, tidings_streams: 2, tidings_streams_opened_total: 3 })
  t.equal(await service.metric('tidings_streams_ended_total', 'reason="client"'), 1)
  for (const reason of ['malformed', 'oversized', 'reserved'] as const) {
    t.equal(await service.metric('tidings_dropped_total', `reason="${reason}"`), 0)
    service.app.hub.dropped('user:42', reason)
    t.equal(await service.metric('tidings_dropped_total', `reason="${reason}"`), 1, reason)
  }
  for (const reason of ['client', 'slow', 'age', 'expired', 'drain', 'unavailable']) {
    t.notOk(Number.isNaN(await service.metric('tidings_streams_ended_total', `reason="${reason}"`)), `${reason} is there before it happens`)
  }
})

t.test('metrics: in Prometheus\' format, with the node\'s name on each, and no user in any', async (t) => {
  const service = await startService(t)
  await service.client(t, { sub: 'a-user-of-ours', groups: ['a-group-of-ours'] }).live()
  const { status, headers, text } = await service.call('GET', '/metrics', { token: null })
  t.equal(status, 200)
  t.match(headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  t.notMatch(text, /of-ours/)
  for (const line of text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))) {
    t.match(line, /^[a-z_][a-z0-9_]*\{.*node="node-under-test".*\} \S+$/i)
  }
  const described = [...text.matchAll(/^# HELP (tidings_\S+)/gm)].map(([, name]) => name)
  t.same(described, [...text.matchAll(/^# TYPE (tidings_\S+)/gm)].map(([, name]) => name), 'each has a help and a type')
})

t.test('metrics: the version that runs', async (t) => {
  const service = await startService(t)
  t.equal(await service.metric('tidings_build_info', `version="${version}"`), 1)
})

t.test('warnings of the broker, which works all the same: each in readyz, their number in the metrics', async (t) => {
  const warnings: string[] = []
  const service = await startService(t, {
    alter: (broker) => {
      const state = broker.state.bind(broker)
      broker.state = () => ({ ...state(), warnings })
    }
  })
  const read = async () => [await service.metric('tidings_broker_warnings'), (await service.call('GET', '/readyz', { token: null })).body.warnings]
  t.same(await read(), [0, []])
  warnings.push('the one', 'the other')
  t.same(await read(), [2, ['the one', 'the other']])
  t.equal((await service.call('GET', '/readyz', { token: null })).status, 200)
})

t.test('Tidings-Node: on every answer, errors and the stream included', async (t) => {
  const service = await startService(t, { env: { NODE_NAME: 'node/7' } })
  for (const path of ['/livez', '/readyz', '/metrics', '/docs', '/docs/json', '/nowhere', '/api/users/42/groups', '/api/users/%0A/groups']) {
    t.equal((await service.call('GET', path)).headers.get('tidings-node'), 'node/7', path)
  }
  t.equal((await service.client(t).opened()).headers['tidings-node'], 'node/7')
})

t.test('what is not there: 404 in the shape of all errors, without repeating what may be secret', async (t) => {
  const service = await startService(t)
  for (const [method, path] of [['GET', '/nowhere'], ['GET', '/api'], ['PATCH', '/nowhere'], ['GET', '/api/notifications/'], ['GET', '/api/users/'], ['DELETE', '/api/users/42'], ['GET', '/__proto__'], ['GET', '/%2e%2e/etc/passwd'], ['GET', '/docs/static/../../../package.json']]) {
    assertError(t, await service.call(method!, path!), 'TIDINGS_NOT_FOUND', `${method} ${path}`)
  }
  const secret = await service.call('GET', '/nowhere?ticket=SECRET&token=SECRET')
  t.notMatch(secret.text, 'SECRET')
})

t.test('a path that is there, by a method that it does not have: 405, and Allow has those of the OpenAPI page (RFC 9110, 15.5.6)', async (t) => {
  for (const env of [{}, { CORS_ORIGINS: 'https://app.example' }]) {
    const service = await startService(t, { env })
    for (const [path, methods] of Object.entries(service.app.swagger().paths ?? {}) as Array<[string, object]>) {
      const answer = await service.call('PATCH', path.replaceAll(/\{\w+\}/g, 'x'))
      assertError(t, answer, 'TIDINGS_METHOD_NOT_ALLOWED', path)
      const allowed = answer.headers.get('allow')!.split(', ').filter((method) => method !== 'HEAD')
      for (const method of Object.keys(methods)) t.ok(allowed.includes(method.toUpperCase()), `${method} ${path}`)
    }
    const allow = async (method: string, path: string) => (await service.call(method, path)).headers.get('allow')
    t.equal(await allow('POST', '/api/notifications/subscribe?ticket=x'), 'DELETE, GET', 'as /:id too')
    t.equal(await allow('POST', '/api/notifications/42'), 'DELETE')
    t.equal(await allow('DELETE', '/docs/json'), 'GET, HEAD')
    t.equal(await allow('POST', '/livez'), 'GET, HEAD')
    t.equal(await allow('GET', '/nowhere'), null)
  }
})

t.test('OPTIONS: the preflight of an origin in CORS_ORIGINS; 405 where there is none', async (t) => {
  const ask = { token: null, headers: { origin: 'https://app.example', 'access-control-request-method': 'PUT' } }
  t.match(await (await startService(t, { env: { CORS_ORIGINS: 'https://app.example' } })).call('OPTIONS', '/api/notifications/read', ask), { status: 204 })
  assertError(t, await (await startService(t)).call('OPTIONS', '/api/notifications/read', ask), 'TIDINGS_METHOD_NOT_ALLOWED')
})

t.test('OPTIONS that is no preflight: answered as any other method, with CORS_ORIGINS and without', async (t) => {
  for (const env of [{}, { CORS_ORIGINS: 'https://app.example' }] as Array<Record<string, string>>) {
    const service = await startService(t, { env })
    for (const headers of [{}, { origin: 'https://app.example' }, { 'access-control-request-method': 'PUT' }] as Array<Record<string, string>>) {
      const known = await service.call('OPTIONS', '/readyz', { token: null, headers })
      assertError(t, known, 'TIDINGS_METHOD_NOT_ALLOWED')
      t.equal(known.headers.get('allow'), 'GET, HEAD')
      assertError(t, await service.call('OPTIONS', '/', { token: null, headers }), 'TIDINGS_NOT_FOUND')
    }
  }
})

// — the documents that a node serves of itself —

interface Operation {
  operationId?: string
  summary?: string
  tags?: string[]
  parameters?: Array<{ name: string, in: string, required?: boolean, schema?: object }>
  requestBody?: { content: object }
  responses: Record<string, { description?: string, content?: object }>
  security?: Array<Record<string, unknown>>
}

/** `METHOD /path/{parameter}` of every route, from Fastify's own tree. */
function routesOf (tree: string): string[] {
  const parents: string[] = []
  const routes: string[] = []
  for (const line of tree.split('\n')) {
    const [, indent = '', part = '', methods] = /^((?:[│ ] {3})*)[├└]── (\S+?)(?: \((.*)\))?$/u.exec(line) ?? []
    if (part === '') continue
    const depth = indent.length / 4
    parents.length = depth
    parents.push(part)
    const path = parents.join('').replace(/:(\w+)/g, '{$1}')
    for (const method of methods?.split(', ') ?? []) if (method !== 'HEAD' && method !== 'OPTIONS' && !/^\/(docs|client)/.test(path)) routes.push(`${method} ${path}`)
  }
  return routes.sort()
}

t.test('OpenAPI: lists every route there is, and nothing else', async (t) => {
  const service = await startService(t)
  const { body } = await service.call('GET', '/docs/json', { token: null })
  const listed = Object.entries<Record<string, Operation>>(body.paths).flatMap(([path, operations]) => Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`)).filter((route) => !route.startsWith('HEAD'))
  t.same(listed.sort(), routesOf(service.app.printRoutes({ commonPrefix: false })))
  for (const route of ['GET /api/notifications/subscribe', 'GET /api/notifications/subscribe/{userId}', 'POST /api/notifications', 'GET /api/users/{userId}/groups', 'PUT /api/users/{userId}/groups',
    'PUT /api/users/{userId}/groups/{group}', 'DELETE /api/users/{userId}/groups/{group}', 'GET /api/users/{userId}/presence', 'GET /livez', 'GET /readyz', 'GET /metrics']) t.ok(listed.includes(route), route)
})

t.test('OpenAPI: a valid 3.1 document, of this version, every operation described to the end', async (t) => {
  const service = await startService(t)
  const { status, body } = await service.call('GET', '/docs/json', { token: null })
  t.equal(status, 200)
  t.match(body, { openapi: /^3\.1\.\d$/, info: { title: 'Tidings', version: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version, description: String } })
  const schemes = Object.keys(body.components.securitySchemes)
  const ids: string[] = []
  for (const [path, operations] of Object.entries<Record<string, Operation>>(body.paths)) {
    for (const [method, { operationId, summary, tags, parameters = [], requestBody, responses, security = [] }] of Object.entries(operations)) {
      const name = `${method} ${path}`
      t.match(operationId, /^[a-z]+([A-Z][a-z]+)+$/, `${name}: has a name that is a verb and a noun`)
      ids.push(operationId!)
      t.ok(summary, `${name}: has a summary`)
      t.ok((tags?.length ?? 0) > 0, `${name}: has a tag`)
      const inPath = parameters.filter((parameter) => parameter.in === 'path')
      t.same(inPath.map(({ name }) => name).sort(), [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort(), `${name}: names its path's parameters`)
      t.ok(inPath.every(({ required }) => required === true), `${name}: which are required`)
      for (const parameter of parameters) t.ok(['path', 'query', 'header', 'cookie'].includes(parameter.in) && typeof parameter.schema === 'object', `${name}: ${parameter.name}`)
      if (requestBody) t.same(Object.keys(requestBody.content), ['application/json'], `${name}: takes JSON`)
      t.ok(Object.keys(responses).length > 0)
      for (const [status, { description, content }] of Object.entries(responses)) {
        t.match(status, /^([1-5]\d\d|default)$/)
        t.ok(description, `${name}: ${status} is described`)
        if (status !== 'default' && (Number(status) < 400 || path === '/readyz')) continue
        const { examples } = (content as { 'application/json': { examples: Record<string, { $ref: string }> } })['application/json']
        t.same(description!.match(/TIDINGS_\w+/g), Object.keys(examples), `${name}: ${status} lists the codes, and has an example of each`)
        for (const [code, { $ref }] of Object.entries(examples)) {
          t.equal($ref, `#/components/examples/${code}`)
          const { value } = body.components.examples[code]
          const [statusCode] = errorTable[code as keyof typeof errorTable]
          t.match(value, { code, statusCode: status === 'default' ? statusCode : Number(status) }, `${name}: ${code}`)
          if (status === 'default') t.notOk(statusCode in responses, `${name}: ${code} stands with its status if that is declared`)
        }
      }
      for (const requirement of security) for (const scheme of Object.keys(requirement)) t.ok(schemes.includes(scheme), `${name}: ${scheme} is defined`)
    }
  }
  t.same(ids.filter((id, i) => ids.indexOf(id) !== i), [], 'no name twice: generated clients make methods of them')
  const refs = [...JSON.stringify(body).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, ref]) => ref!)
  for (const ref of refs) t.ok(ref.split('/').reduce((at: any, key) => at?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], body), ref)
})

t.test('OpenAPI: with what each route is opened, and in which types it answers', async (t) => {
  const service = await startService(t)
  const { body } = await service.call('GET', '/docs/json', { token: null })
  const credentials = (path: string, method: string): string[] => {
    if (!path.startsWith('/api/')) return []
    if (path.includes('/subscribe')) return ['bearer', 'cookie', 'ticket']
    if (path === '/api/notifications/tickets') return ['bearer', 'cookie']
    const isPublisher = method === 'post' || path.startsWith('/api/users/')
    return isPublisher ? ['bearer'] : ['bearer', 'cookie', 'ticketHeader']
  }
  for (const [path, operations] of Object.entries<Record<string, Operation>>(body.paths)) {
    for (const [method, { security = [], responses }] of Object.entries(operations)) {
      const name = `${method} ${path}`
      t.same(security.flatMap((requirement) => Object.keys(requirement)), credentials(path, method), `${name}: any one of these`)
      t.ok(security.every((requirement) => Object.keys(requirement).length === 1), `${name}: none beside another`)
      const types = path.includes('/subscribe') ? ['text/event-stream'] : path === '/metrics' ? ['text/plain', 'application/openmetrics-text'] : ['application/json']
      for (const [status, { content }] of Object.entries(responses)) {
        t.same(Object.keys(content ?? {}), status === '204' ? [] : status === '200' ? types : ['application/json'], `${name}: ${status}`)
      }
    }
  }
})

t.test('docs: a page that loads all it needs from this node', async (t) => {
  const service = await startService(t)
  const { status, headers, text } = await service.call('GET', '/docs', { token: null })
  t.equal(status, 200)
  t.match(headers.get('content-type'), /^text\/html/)
  const files = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path!)
  t.ok(files.length > 2)
  for (const file of files) {
    t.notMatch(file, /^(https?:)?\/\//)
    t.equal((await service.call('GET', new URL(file, `${service.url}/docs`).pathname, { token: null })).status, 200, file)
  }
  t.match((await service.call('GET', '/docs/yaml', { token: null })).text, /^openapi: /)
})
