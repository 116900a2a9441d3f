// Figures in the pages that are limits of the code: each is that of its constant.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const read = (path: string) => readFileSync(join(import.meta.dirname, '..', path), 'utf8')
const words = (text: string) => text.replaceAll(/\s+/g, ' ')
/** A number as the pages write it. */
const figure = (value: number) => value.toLocaleString('en')

/** Page, a piece of it with `$` for the figure, the file and name of the constant, and how many of its units make one of the page's. */
const figures: Array<[page: string, said: string, file: string, name: string, per?: number]> = [
  ['README.md', '`to` is one address or up to $:', 'src/notification.ts', 'MAX_ADDRESSES'],
  ['README.md', 'one use and lasts $ s, so no token', 'src/http/ticket-store.ts', 'TICKET_SECONDS'],
  ['README.md', 'a node keeps one for about $ s after', 'src/hub/channels.ts', 'LINGER_MS', 1000],
  ['README.md', 'the same key within $ h returns', 'src/broker/redis/functions/publish.lua', 'IDEMPOTENT_SECONDS', 3600],
  ['README.md', '&limit=1..$&', 'src/http/inbox-schemas.ts', 'MAX_LIMIT'],
  ['docs/inbox.md', 'Each user has at most $ such marks', 'src/broker/inbox.ts', 'MAX_MARKS'],
  ['docs/inbox.md', 'has passed, up to $ are remembered |', 'src/broker/inbox.ts', 'MAX_OLD_DISMISSED'],
  ['docs/inbox.md', 'that is away for more than $ seconds does not get it', 'src/broker/redis/functions/copies.lua', 'LIVE', 1_000_000],
  ['docs/inbox.md', 'go up to $: show', 'src/notification.ts', 'MAX_UNREAD'],
  ['docs/client.md', 'the last $ ids are remembered', 'client/src/limits.ts', 'REMEMBERED'],
  ['docs/client.md', 'asked for again within $ seconds', 'client/src/limits.ts', 'ASK_AGAIN_MS', 1000],
  ['docs/security.md', 'kept for $ seconds under its SHA-256', 'src/http/ticket-store.ts', 'TICKET_SECONDS'],
  ['docs/security.md', 'room for $ spent tickets', 'src/http/ticket-store.ts', 'PLACES'],
  ['docs/security.md', 'fetched again every $ minutes of use', 'src/http/key-set.ts', 'REFRESH_MS', 60_000],
  ['docs/security.md', 'One fetch in $ seconds a node', 'src/http/key-set.ts', 'COOLDOWN_MS', 1000],
  ['docs/security.md', 'one attempt in $ seconds while it fails', 'src/http/key-set.ts', 'RETRY_MS', 1000],
  ['docs/security.md', 'old one, wait $ seconds', 'src/http/key-set.ts', 'COOLDOWN_MS', 1000],
  ['docs/security.md', 'at most 2 KB and $ s; a peer', 'src/http/door.ts', 'HEADER_TIMEOUT_MS', 1000],
  ['docs/security.md', '| $ seconds, whatever the client sends', 'src/app.ts', 'HEAD_TIMEOUT_MS', 1000],
  ['docs/security.md', '| $ seconds to arrive;', 'src/app.ts', 'REQUEST_TIMEOUT_MS', 1000],
  ['docs/security.md', '| $ may be in progress', 'src/http/connections.ts', 'MAX_UNDER_WAY'],
  ['docs/security.md', '($ for a publisher)', 'src/http/connections.ts', 'MAX_UNDER_WAY_OF_PUBLISHER'],
  ['docs/security.md', 'counts once for every $ addresses', 'src/http/publish.ts', 'ADDRESSES_PER_HIT'],
  ['docs/security.md', 'bytes of data are at most $ MB', 'src/http/publish.ts', 'MAX_FAN_OUT_BYTES', 1_048_576],
  ['docs/security.md', 'streams that it pings, $ in a call', 'src/broker/redis/redis.ts', 'VERIFIED_AT_ONCE'],
  ['docs/deployment.md', '(every $ s, and at SIGHUP)', 'src/certificate.ts', 'LOOK_EVERY_MS', 1000],
  ['docs/deployment.md', '| $ s for the handshake', 'src/app.ts', 'HEAD_TIMEOUT_MS', 1000],
  ['docs/deployment.md', '| $ s for the whole request', 'src/app.ts', 'REQUEST_TIMEOUT_MS', 1000],
  ['docs/deployment.md', 'keeps an idle connection for $ s at most', 'src/end.ts', 'IDLE_MS', 1000],
  ['docs/kubernetes.md', 'the node needs up to $ more to close', 'src/end.ts', 'AFTER_DRAIN_SECONDS'],
  ['docs/operations.md', 'has at most $ such lines', 'src/broker/trail.ts', 'MAX_TRAIL'],
  ['docs/operations.md', 'For each address, $ notifications that were retracted or replaced', 'src/broker/trail.ts', 'MAX_GONE'],
  ['docs/reference.md', 'when one notification in $ was written', 'src/receipts.ts', 'SAMPLE'],
  ['docs/operations.md', 'did not answer it within $ s', 'src/broker/redis/link.ts', 'COMMAND_TIMEOUT_MS', 1000],
  ['docs/operations.md', 'a node looks at its files every $ s', 'src/certificate.ts', 'LOOK_EVERY_MS', 1000],
  ['docs/operations.md', 'Redis has used more than $ % of its maxmemory', 'src/broker/redis/warnings.ts', 'MEMORY_WARNING', 0.01],
  ['docs/redis.md', 'for $ seconds after that, a client that reconnects', 'src/broker/redis/functions/configure.lua', 'DOUBT', 1_000_000],
  ['docs/redis.md', 'A partition queues at most $ notifications', 'src/broker/redis/functions/outbox.lua', 'MOST_OWED'],
  ['docs/redis.md', 'a partition remembers up to $ retractions and keys', 'src/broker/redis/functions/copies.lua', 'MOST_LATE'],
  ['docs/redis.md', 'it ends some $ days after', 'src/broker/redis/partitions/directory.ts', 'JOINED_SECONDS', 86_400]
]

t.test('figures of the pages: those of the code', async (t) => {
  for (const [page, said, file, name, per = 1] of figures) {
    const [, value = '', unit = ''] = new RegExp(`(?:const|local) ${name} = ([\\d_.]+)(?: \\* (SECOND|86_400))?`).exec(read(file)) ?? []
    const number = Number(value.replaceAll('_', '')) * (unit === 'SECOND' ? 1_000_000 : unit === '' ? 1 : 86_400)
    if (!t.ok(number > 0, `${file} has ${name}`)) continue
    const wanted = said.replace('$', figure(Math.round(number / per * 1000) / 1000))
    t.ok(words(read(page)).includes(wanted), `${page}: ${wanted}`)
  }
})
