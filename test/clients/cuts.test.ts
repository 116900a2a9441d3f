// The reading programs of examples/clients on lines that break in the middle of an event.
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { readers } from './programs.ts'
import { each, run } from './run.ts'

/**
 * Sends one event, then three times a piece of the second and an end, then all of it, and 204. `asked`: the ids that
 * each reader sent, by path.
 */
async function startCuts (): Promise<{ url: string, asked: Map<string, unknown[]> }> {
  const answers = [
    'retry: 50\nid: 1763794000000010\ndata: {"n":1}\n\nid: 17637940000', // an id that is no id
    'id: 1763794000000020\ndata: {"n"',
    'retry: 50\nid: 1763794000000020\nevent: message\ndata: {"n":2}\n', // all of it but the empty line
    'id: 1763794000000020\ndata: {"n":2}\n\n'
  ]
  const asked = new Map<string, unknown[]>()
  const server = http.createServer(({ url = '', headers }, response) => {
    const ids = asked.get(url) ?? []
    asked.set(url, [...ids, headers['last-event-id']])
    const answer = answers[ids.length]
    if (answer === undefined) {
      response.writeHead(204).end()
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' }).write(answer, () => {
      // The second one breaks off, the others end in good order. A client that has not read yet would not see the bytes.
      setTimeout(() => { if (ids.length === 1) response.socket?.destroy(); else response.end() }, 300)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

t.test('readers, cut off in the middle of an event: each asks for it again, and prints it once', async (t) => {
  const { url, asked } = await startCuts()
  await each(Object.entries(readers), async ([name, line]) => {
    const path = `/${encodeURIComponent(name)}`
    const { code, out, err } = await run(line, { TIDINGS_URL: url + path, TIDINGS_TOKEN: 'x' })
    t.equal(code, 0, `${name}: ends at 204 (${err})`)
    t.same(out.trim().split('\n').map((text) => text.trim().split('\t')), [
      ['1763794000000010', 'message', '{"n":1}'], ['1763794000000020', 'message', '{"n":2}']
    ], name)
    const [first, second] = ['1763794000000010', '1763794000000020']
    t.same(asked.get(path), [undefined, first, first, first, second], name)
  })
})
