// docs/inbox.md: its example, run as it is printed, with two devices of one user on two nodes; and what its tables say.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { configSchema } from '../../src/config.ts'
import { connect } from '../fixtures/client.ts'
import { startRedis } from '../fixtures/redis.ts'
import { eventually } from '../fixtures/wait.ts'
import { startNodes } from '../security/nodes.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/inbox.md'), 'utf8')
const redis = await startRedis(t)

interface Bell { items: Array<{ id: string, isRead: boolean, data: unknown }>, unseen: number, unread: number }
interface Handle {
  open: () => Promise<void>
  readAll: () => Promise<void>
  read: (id: string) => Promise<void>
  unread: (id: string) => Promise<void>
  dismiss: (id: string) => Promise<void>
  close: () => void
}

t.test('example of docs/inbox.md, on two devices: what changes on one is seen on the other, and nothing falls between page and stream', async (t) => {
  const [, code] = /```js\n([^]*?)```/.exec(page) ?? []
  if (code === undefined) throw new Error('docs/inbox.md has no example')
  const all = await startNodes(t, 'redis', redis)
  const cookie = `tidings_token=${all.token({ sub: 'ann', groups: ['Complaints'] })}`
  const folder = mkdtempSync(join(tmpdir(), 'inbox-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })

  /** The example on a device whose pages come from a node, with what a browser gives a page. */
  async function device (node: number, loadData: () => Promise<void>): Promise<{ bell: () => Bell, handle: Handle }> {
    const { url } = all.nodes[node]!
    class PageEventSource {
      readonly #client
      readonly #listeners = new Map<string, (event: { data: string }) => void>()
      onmessage: ((event: { data: string }) => void) | undefined

      constructor (path: string) {
        this.#client = connect(t, { url, path, headers: { Cookie: cookie }, retryCapMs: 50 })
        void this.#pump()
      }

      async #pump (): Promise<void> {
        for (;;) {
          const event = await this.#client.next(() => true).catch(() => undefined)
          if (event === undefined) return
          if (event.event === 'message') this.onmessage?.(event)
          else this.#listeners.get(event.event)?.(event)
        }
      }

      addEventListener (name: string, listener: (event: { data: string }) => void): void { this.#listeners.set(name, listener) }
      close (): void { this.#client.close() }
    }
    const file = join(folder, `device-${node}.mjs`)
    writeFileSync(file, `let fetch, EventSource; export const give = (given) => { ({ fetch, EventSource } = given) }\n${code}`)
    const { give, openBell } = await import(pathToFileURL(file).href)
    give({
      fetch: async (path: string, { headers, credentials: _, ...init }: RequestInit = {}) => await fetch(new URL(path, url), { ...init, headers: { ...headers as object, cookie } }),
      EventSource: PageEventSource
    })
    let shown: Bell = { items: [], unseen: 0, unread: 0 }
    const handle: Handle = await openBell({ names: ['order', 'complaint'], loadData, show: (bell: Bell) => { shown = structuredClone(bell) } })
    t.teardown(() => { handle.close() })
    return { bell: () => shown, handle }
  }

  const publish = async (data: unknown, more: object = {}): Promise<string> =>
    (await all.call('POST', '/api/notifications', { body: { to: 'group:Complaints', data, ...more } })).body.notifications[0].id
  // Rule 1: published while the first device reads its data, after the position and before the stream.
  let isFirst = true
  let loads = 0
  const phone = await device(0, async () => {
    loads++
    if (isFirst) await publish('between')
    isFirst = false
  })
  const laptop = await device(1, async () => {})
  const both = async (what: string, fits: (bell: Bell) => boolean) => {
    for (const { bell } of [phone, laptop]) await eventually(async () => bell(), fits, { what, describe: () => JSON.stringify(bell()) })
  }
  await both('the one in between', ({ unseen, unread, items }) => unseen === 1 && unread === 1 && items[0]!.data === 'between')
  await eventually(async () => loads, (count) => count >= 2, { what: 'the data, read again because of it' })
  const known = loads
  const named = await publish('with a name', { event: 'order' })
  await both('what has an event name', ({ unseen, items }) => unseen === 2 && items[0]!.id === named)
  await eventually(async () => loads, (count) => count > known, { what: 'the data, read again because of it' })
  await laptop.handle.dismiss(named)
  await both('without it', ({ unseen, items }) => unseen === 1 && items.length === 1)
  const second = await publish('second')
  await both('the second', ({ unseen, items }) => unseen === 2 && items[0]!.id === second)
  await phone.handle.open()
  await both('seen everywhere', ({ unseen, unread }) => unseen === 0 && unread === 2)
  await laptop.handle.read(second)
  await both('one read everywhere', ({ unread, items }) => unread === 1 && items[0]!.isRead)
  await phone.handle.readAll()
  await both('all read everywhere', ({ unread }) => unread === 0)
  await phone.handle.unread(second)
  await both('one unread again', ({ unread, items }) => unread === 1 && !items[0]!.isRead)
  await phone.handle.readAll()
  await both('all read once more, with nothing newer', ({ unread }) => unread === 0)
  await phone.handle.unread(second)
  await both('one unread for the last time', ({ unread, items }) => unread === 1 && !items[0]!.isRead)
  await laptop.handle.dismiss(second)
  await both('dismissed everywhere', ({ unread, items }) => unread === 0 && items.length === 1)
  await publish('wrong', { key: 'k' })
  await both('published', ({ items }) => items.length === 2)
  await all.call('POST', '/api/notifications/retract', { body: { to: 'group:Complaints', key: 'k' } })
  await both('taken back', ({ items }) => items.length === 1)
})

t.test('docs/inbox.md, figures: those of the code', async (t) => {
  const [, limit] = /`INBOX_PER_MINUTE` \((\d+)\)/.exec(page) ?? []
  t.equal(Number(limit), (configSchema.properties.INBOX_PER_MINUTE as { default?: number }).default)
})
