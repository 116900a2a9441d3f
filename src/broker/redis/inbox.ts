// The inbox on Redis: each call is one call of a library function, whose reply is parsed here.
import type { Reader } from '../broker.ts'
import type { Inbox, InboxCounts, InboxItem, InboxMark, InboxPage, InboxState, ListQuery } from '../inbox.ts'
import type { RedisCommands } from './commands.ts'
import { readEntry } from './requests.ts'

type CountsReply = [seen: string, read: string, unseen: string, unread: string]
type ItemReply = [id: string, event: string, json: string, to: string, key: string, isRead: number]
type ListReply = [position: string, seen: string, read: string, unseen: string, unread: string, next: string, complete: number, ...ItemReply[]]

export class RedisInbox implements Inbox {
  readonly #commands: RedisCommands
  readonly #prefix: string

  constructor (commands: RedisCommands, prefix: string) {
    this.#commands = commands
    this.#prefix = prefix
  }

  async list ({ reader, before, limit, unreadOnly }: ListQuery): Promise<InboxPage> {
    const [position, seen, read, unseen, unread, next, complete, ...items] =
      await this.#call('tidings_list', reader, before ?? '', limit, unreadOnly ? 1 : 0) as ListReply
    return {
      ...this.#state([position, seen, read, unseen, unread]),
      notifications: items.map(readItem).filter((item) => item !== undefined),
      next: next === '' ? undefined : Number(next),
      complete: complete === 1
    }
  }

  async position (reader: Reader): Promise<InboxState> {
    return this.#state(await this.#call('tidings_position', reader) as [string, string, string, string, string])
  }

  async moveCursor (reader: Reader, cursor: 'seen' | 'read', upTo: number): Promise<InboxCounts> {
    return readCounts(await this.#call('tidings_move_cursor', reader, cursor, upTo) as CountsReply)
  }

  async mark (reader: Reader, id: number, as: InboxMark): Promise<InboxCounts> {
    return readCounts(await this.#call('tidings_mark', reader, id, as) as CountsReply)
  }

  #state ([position, ...counts]: [string, string, string, string, string]): InboxState {
    this.#commands.saw(Number(position))
    return { position: Number(position), ...readCounts(counts) }
  }

  #call (name: string, { userId, token }: Reader, ...args: Array<string | number>): Promise<unknown> {
    const claim = token?.groups === undefined ? [-1] : [token.groups.length, ...token.groups]
    return this.#commands.call(this.#prefix, name, [userId, ...args, token?.issuedAtSeconds ?? '', token?.expiresAtSeconds ?? 0, ...claim])
  }
}

function readCounts ([seen, read, unseen, unread]: CountsReply): InboxCounts {
  return { seen: Number(seen), read: Number(read), unseen: Number(unseen), unread: Number(unread) }
}

function readItem ([id, event, json, to, key, isRead]: ItemReply): InboxItem | undefined {
  const entry = readEntry(id, event, json)
  return entry && { ...entry, to, key: key === '' ? undefined : key, isRead: isRead === 1 }
}
