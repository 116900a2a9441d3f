// The OpenAPI document as a machine reads it: valid, and its examples are what its schemas say.
import { Validator } from '@seriousme/openapi-schema-validator'
import t from 'tap'
import { Check, Errors } from 'typebox/schema'
import { show, startService } from './service.ts'

/** A schema with its examples and the place where it stands. */
type Found = readonly [place: string, schema: object, examples: readonly unknown[]]

/** Every example of a document with its schema: of parameters, bodies, answers, and of members in them. */
function * examplesIn (node: unknown, place = ''): Generator<Found> {
  if (typeof node !== 'object' || node === null) return
  const { schema, example, examples } = node as { schema?: object, example?: unknown, examples?: unknown[] | Record<string, { value: unknown }> }
  const values = [...example === undefined ? [] : [example], ...Array.isArray(examples) ? examples : Object.values(examples ?? {}).map(({ value }) => value)]
  const about = schema ?? (Array.isArray(examples) || 'type' in node ? node : undefined)
  if (about !== undefined && values.length > 0) yield [place, about, values]
  for (const [key, value] of Object.entries(node)) if (!/^examples?$/.test(key)) yield * examplesIn(value, `${place}/${key}`)
}

t.test('OpenAPI: the document is valid', async (t) => {
  const service = await startService(t)
  const { body } = await service.call('GET', '/docs/json', { token: null })
  const { valid, errors } = await new Validator().validate(body)
  t.ok(valid, JSON.stringify(errors))
})

t.test('OpenAPI, every example: is what its schema says', async (t) => {
  const service = await startService(t)
  const { text } = await service.call('GET', '/docs/json', { token: null })
  // So that an example has no member that its schema does not know.
  const body = JSON.parse(text, (_key, value) => value?.type === 'object' && value.properties !== undefined ? { additionalProperties: false, ...value } : value)
  let count = 0
  const resolved = JSON.parse(text, (_key, value) => body.components.examples[value?.$ref?.split('/components/examples/')[1]] ?? value)
  for (const [place, schema, examples] of examplesIn(resolved.paths)) {
    for (const example of examples) {
      count++
      // References point into the whole document.
      t.ok(Check({ ...schema, components: body.components }, example), `${place}: ${JSON.stringify(Errors({ ...schema, components: body.components }, example))}`)
    }
  }
  t.ok(count > 40, `${count} examples`)
})

t.test('OpenAPI, parameters of a list: have their types and bounds, though a query is text', async (t) => {
  const service = await startService(t)
  const { body } = await service.call('GET', '/docs/json', { token: null })
  for (const path of ['/api/notifications', '/api/users/{userId}/notifications']) {
    t.match(body.paths[path].get.parameters.filter((parameter: { in: string }) => parameter.in === 'query'), [
      { name: 'before', required: false, schema: { type: 'string' } },
      { name: 'limit', required: false, schema: { type: 'integer', minimum: 1, maximum: 100, default: 50 } },
      { name: 'unread', required: false, schema: { type: 'boolean', default: false } }
    ])
    const statusOf = async (query: string) => (await service.call('GET', `${path.replace('{userId}', '42')}?${query}`)).status
    for (const query of ['', 'limit=1', 'limit=100', 'unread=false', 'unread=true', 'unknown=1']) t.equal(await statusOf(query), 200, query)
    for (const limit of ['0', '101', '-1', '1.5', '', '05', '1e1', '0x10', '+5', '%205', '1000000000000000000000', 'null', '1&limit=2']) t.equal(await statusOf(`limit=${limit}`), 400, limit)
    for (const unread of ['yes', '1', '', 'null', 'TRUE', 'true&unread=true']) t.equal(await statusOf(`unread=${unread}`), 400, unread)
  }
})

t.test('OpenAPI, statuses: each operation whose request is validated lists 400', async (t) => {
  const service = await startService(t)
  const { body } = await service.call('GET', '/docs/json', { token: null })
  for (const [path, operations] of Object.entries<any>(body.paths)) {
    for (const { operationId, parameters = [], requestBody, responses } of Object.values<any>(operations)) {
      const isValidated = requestBody !== undefined || parameters.some((parameter: { in: string }) => parameter.in !== 'header')
      // The schema of a stream takes every query, since a status other than 200 would end an EventSource for good.
      if (isValidated && !path.includes('/subscribe')) t.match(responses[400], { description: /TIDINGS_BAD_REQUEST/ }, operationId)
    }
  }
})

t.test('OpenAPI, headers of an answer to a publish: the one that tells a repetition', async (t) => {
  const service = await startService(t)
  const { body } = await service.call('GET', '/docs/json', { token: null })
  t.same(Object.keys(body.paths['/api/notifications'].post.responses[202].headers), ['idempotency-replayed'])
})

t.test('OpenAPI, JSON: every object of a body or an answer has a name, and every name is used', async (t) => {
  const service = await startService(t)
  const { text, body } = await service.call('GET', '/docs/json', { token: null })
  const contents = [...Object.values<any>(body.paths).flatMap((operations) => Object.values<any>(operations)).flatMap(({ requestBody, responses }) => [requestBody, ...Object.values(responses)])]
  const schemas = contents.flatMap((part: any) => part?.content?.['application/json']?.schema ?? [])
  t.ok(schemas.length > 100)
  for (const { $ref } of schemas) t.match($ref, /^#\/components\/schemas\/[A-Z]\w+$/)
  for (const [name, { properties }] of Object.entries<any>(body.components.schemas)) {
    for (const [member, schema] of Object.entries<any>(properties)) t.not(schema.items?.type ?? schema.type, 'object', `${name}.${member}`)
    t.ok(text.includes(`"#/components/schemas/${name}"`), name)
  }
})

t.test('OpenAPI, members of a publish: what their schemas allow is taken, and nothing else', async (t) => {
  const service = await startService(t)
  const { body } = await service.call('GET', '/docs/json', { token: null })
  const { required, properties } = body.components.schemas.PublishRequest
  t.same(required, ['to', 'data'])
  t.notOk(Object.values<object>(properties).some((schema) => 'default' in schema), 'openapi-typescript requires a member with a default')
  t.match(properties.to, { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] }, 'openapi-generator drops all but the first of a list of types')
  for (const { type } of Object.values<any>(properties)) t.notOk(Array.isArray(type))
  const values: Record<string, unknown[]> = {
    to: ['all', ['all'], [], Array(1001).fill('all'), 1, null, [1]],
    event: ['a', 'A-z.0_9', 'e'.repeat(64), 'e'.repeat(65), '', 'a b', 'a\n', 'é', 1, null],
    keep: ['inbox', 'replay', 'none', 'Inbox', '', null, true],
    ttl: [1, 86_400, 60.0, 0, -1, 0.5, '60', null],
    key: ['k', 'k'.repeat(128), '😀'.repeat(128), 'k'.repeat(129), '', 1, null]
  }
  for (const [name, all] of Object.entries(values)) {
    for (const value of all) {
      const { status } = await service.publish('all', 1, { [name]: value })
      t.equal(status, Check(properties[name], value) ? 202 : 400, `${name}: ${show(value)}`)
    }
  }
})

// test/broker/partitions-late.test.ts shows that it is so.
t.test('OpenAPI, id of a publish: says that clients may see another one', async (t) => {
  const service = await startService(t)
  const { schemas } = (await service.call('GET', '/docs/json', { token: null })).body.components
  t.match(schemas.PublishedNotification.properties.id.description, /the same for all addresses.* With several partitions, clients may see another id/)
})

t.test('OpenAPI, examples of /readyz: each fits its status', async (t) => {
  const service = await startService(t)
  const { responses } = (await service.call('GET', '/docs/json', { token: null })).body.paths['/readyz'].get
  t.match(responses[200].content['application/json'].example, { status: 'ready' })
  t.match(responses[503].content['application/json'].example, { status: 'draining' })
})

t.test('OpenAPI, types of what is not JSON: those that come', async (t) => {
  const service = await startService(t)
  const { paths } = (await service.call('GET', '/docs/json', { token: null })).body
  const declared = (path: string) => Object.keys(paths[path].get.responses[200].content)
  const came = async (accept: string) => (await service.call('GET', '/metrics', { token: null, headers: { accept } })).headers.get('content-type')?.split(';')[0]
  const types = [await came('text/plain;version=0.0.4'), await came('application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5')]
  t.same(types, ['text/plain', 'application/openmetrics-text'])
  t.same(declared('/metrics'), types)
  for (const path of ['/api/notifications/subscribe', '/api/notifications/subscribe/{userId}']) t.same(declared(path), ['text/event-stream'])
})
