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
