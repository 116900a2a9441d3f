// The OpenAPI page: it works at plain http on any host, and its examples are ones that the service takes.
import t from 'tap'
import { startService } from './service.ts'

t.test('/docs, at plain http: nothing in it is turned into https, and its policy is a policy still', async (t) => {
  const service = await startService(t)
  const page = await service.call('GET', '/docs', { token: null })
  t.equal(page.status, 200)
  const policy = page.headers.get('content-security-policy') ?? ''
  t.match(policy, /default-src 'self'.*script-src 'self'/)
  t.notMatch(policy, /upgrade-insecure-requests|unsafe-inline/)
  const files = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, file]) => file!)
  t.ok(files.length > 3)
  for (const file of files) t.equal((await service.call('GET', new URL(file, `${service.url}/docs/`).pathname, { token: null })).status, 200, file)
})

t.test('/docs, examples of bodies, of every route: taken as they stand', async (t) => {
  const service = await startService(t)
  const { body: { paths } } = await service.call('GET', '/docs/json', { token: null })
  let count = 0
  for (const [path, operations] of Object.entries<Record<string, any>>(paths)) {
    for (const [method, { requestBody }] of Object.entries<any>(operations)) {
      if (requestBody === undefined) continue
      const { example, examples = {} } = requestBody.content['application/json']
      const bodies = example === undefined ? Object.values<any>(examples).map(({ value }) => value) : [example]
      t.ok(bodies.length > 0, `${method} ${path} has one`)
      for (const body of bodies) {
        count++
        const { status } = await service.call(method.toUpperCase(), path.replace('{userId}', '42'), { body })
        t.ok(status >= 200 && status < 300, `${method} ${path} ${JSON.stringify(body)}: ${status}`)
      }
    }
  }
  t.ok(count >= 7)
})

t.test('/docs, of every route: each member of a body stands in an example, each parameter says what it is, each JSON answer has an example', async (t) => {
  const service = await startService(t)
  const { body } = await service.call('GET', '/docs/json', { token: null })
  const { paths } = body
  const examplesIn = ({ example, examples = {} }: any): unknown[] => example === undefined ? Object.values<any>(examples).map(({ value }) => value) : [example]
  let answers = 0
  for (const [path, operations] of Object.entries<Record<string, any>>(paths)) {
    for (const [method, { requestBody, parameters = [], responses }] of Object.entries<any>(operations)) {
      const route = `${method} ${path}`
      if (requestBody !== undefined) {
        const json = requestBody.content['application/json']
        const shown = new Set(examplesIn(json).flatMap((example) => Object.keys(example as object)))
        const { properties } = body.components.schemas[json.schema.$ref.split('/').at(-1)]
        t.same(Object.keys(properties).filter((name) => !shown.has(name)), [], `${route}: the members of its body that no example has`)
      }
      for (const { name, description, example, examples, schema } of parameters) {
        t.ok(description !== undefined || example !== undefined || examples !== undefined || schema?.examples !== undefined, `${route}: ${name}`)
      }
      for (const [status, response] of Object.entries<any>(responses)) {
        t.not(response.description, 'Default Response', `${route}: ${status} says what it is`)
        const json = response.content?.['application/json']
        if (!status.startsWith('2') || json === undefined) continue
        answers++
        t.ok(examplesIn(json).length > 0 || json.schema.example !== undefined, `${route}: ${status}`)
      }
    }
  }
  t.ok(answers >= 12, `${answers} answers`)
})
