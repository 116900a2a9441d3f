// What users and publishers ask of an inbox, each with what has to stand in Redis before.
import type { Reply } from '../../test/fixtures/resp.ts'
import type { Call, Functions } from '../harness/functions.ts'
import { payload } from '../harness/payload.ts'

export interface Question {
  readonly name: string
  readonly title: string
  /** Calls that are counted, and in a smoke run. */
  readonly calls: readonly [usual: number, smoke: number]
  /** Makes it so, and says what is asked. `size`: of what is large in it, in a smoke run less. */
  readonly plan: (functions: Functions, isSmoke: boolean) => Promise<(i: number) => Call>
  /** Whether an answer is right. */
  readonly isRight: (reply: any) => boolean
}

const USER = 'ann'
const GROUPS = Array.from({ length: 20 }, (_, i) => `group-${i}`)
/** A token of this hour, that claims these groups. */
const claim = (groups: readonly string[]): readonly [...Array<string | number>] => {
  const now = Math.floor(Date.now() / 1000)
  return [now - now % 3600, now - now % 3600 + 7200, groups.length, ...groups]
}
const publish = (to: string, data: string, ...options: Array<string | number>): Call => ['tidings_publish', to, 'message', data, ...options]
const large = JSON.stringify('x'.repeat(65_000))

/** The user comes, and then everything that they may see gets so many notifications. Returns the ids, oldest first. */
async function fill (functions: Functions, groups: readonly string[], each: number, data: (i: number) => string = payload): Promise<number[]> {
  await functions.call(['tidings_position', USER, ...claim(groups)])
  const addresses = [`user:${USER}`, 'all', ...groups.map((group) => `group:${group}`)]
  const answers = await functions.all(each * addresses.length, (i) => publish(addresses[i % addresses.length]!, data(i)))
  return answers.map((answer) => Number((answer as Reply[])[0]))
}

const move = (cursor: 'seen' | 'read', upTo: number, groups: readonly string[]): Call => ['tidings_move_cursor', USER, cursor, upTo, ...claim(groups)]
const mark = (id: number): Call => ['tidings_mark', USER, id, 'read', ...claim([])]
const hasUnread = (count: number, at = 3) => (reply: string[]): boolean => Number(reply[at]) === count
const listed = (reply: unknown[]): boolean => reply.length === 7 + 50

function list (isRead: boolean): Question['plan'] {
  return async (functions) => {
    const ids = await fill(functions, GROUPS, 50)
    if (isRead) await functions.call(move('read', ids.at(-1)!, GROUPS))
    return () => ['tidings_list', USER, '', 50, 0, ...claim(GROUPS)]
  }
}

/** All is read but so many; then a cursor moves on and on: `seen` where there are some, which stay unread. */
function cursor (groups: readonly string[], unread: number): Question['plan'] {
  return async (functions) => {
    const ids = await fill(functions, groups, 50)
    const read = ids.at(-1 - unread)!
    await functions.call(move('read', read, groups))
    return (i) => move(unread > 0 ? 'seen' : 'read', read + 1 + i, groups)
  }
}

function counts (isRead: boolean, groups: readonly string[], data?: (i: number) => string): Question['plan'] {
  return async (functions) => {
    const ids = await fill(functions, groups, data === undefined ? 50 : 100, data)
    if (isRead) await functions.call(move('read', ids.at(-1)!, groups))
    return () => ['tidings_position', USER, ...claim(groups)]
  }
}

/** Two logs of 550, of which so many are marked as read one by one. */
function marked (count: number, ask: (ids: readonly number[]) => (i: number) => Call): Question['plan'] {
  return async (functions) => {
    const ids = await fill(functions, [], 550)
    await functions.all(count, (i) => mark(ids[i]!))
    return ask(ids)
  }
}

const sync: Question['plan'] = async (functions) => {
  const ids = await fill(functions, GROUPS, 50)
  await functions.call(move('read', ids.at(-1)!, GROUPS))
  const [issuedAt, expiresAt, ...groups] = claim(GROUPS)
  return () => ['tidings_read_pages', 131_072, 1_048_576, USER, issuedAt!, expiresAt!, Number.MAX_SAFE_INTEGER, ids.at(-1)!, ...groups]
}

/** A group of so many members, who all have the notifications. */
async function joined (functions: Functions, isSmoke: boolean): Promise<void> {
  await functions.all(isSmoke ? 1000 : 100_000, (i) => ['tidings_join', `member-${i}`, 'large'])
}

const retract: Question['plan'] = async (functions, isSmoke) => {
  await joined(functions, isSmoke)
  const answers = await functions.all(1000, (i) => publish('group:large', payload(i)))
  return (i) => ['tidings_retract', 'group:large', 'ID', (answers[i] as string[])[0]!]
}

const hasId = (reply: unknown[]): boolean => /^\d{16}$/.test(String(reply[0]))
const published = (name: string, title: string, options: (i: number) => Array<string | number>, isRight = hasId): Question => ({
  name: `publish-${name}`,
  title: `publish ${title}`,
  calls: [10_000, 500],
  plan: async () => (i) => publish(`user:${i % 1000}`, payload(i), ...options(i)),
  isRight
})

export const questions: readonly Question[] = [
  { name: 'list', title: 'list of 50, 20 groups, all read', calls: [1000, 20], plan: list(true), isRight: listed },
  { name: 'list-unread', title: 'list of 50, 20 groups, all unread', calls: [1000, 20], plan: list(false), isRight: listed },
  { name: 'cursor', title: 'cursor moves, no group', calls: [2000, 40], plan: cursor([], 0), isRight: hasUnread(0) },
  { name: 'cursor-groups', title: 'cursor moves, 20 groups', calls: [2000, 40], plan: cursor(GROUPS, 0), isRight: hasUnread(0) },
  { name: 'cursor-5', title: 'cursor moves, 20 groups, 5 unread', calls: [2000, 40], plan: cursor(GROUPS, 5), isRight: hasUnread(5) },
  { name: 'cursor-100', title: 'cursor moves, 20 groups, more than 100 unread', calls: [2000, 40], plan: cursor(GROUPS, 500), isRight: hasUnread(100) },
  { name: 'counts', title: 'counts, 20 groups, nothing unread', calls: [2000, 40], plan: counts(true, GROUPS), isRight: hasUnread(0, 4) },
  { name: 'counts-unread', title: 'counts, 20 groups, more than 100 unread', calls: [2000, 40], plan: counts(false, GROUPS), isRight: hasUnread(100, 4) },
  { name: 'counts-large', title: 'counts, no group, 100 unread of 64 KB', calls: [100, 20], plan: counts(false, [], () => large), isRight: hasUnread(100, 4) },
  { name: 'counts-marks', title: 'counts, no group, 1,000 marks, 100 unread', calls: [200, 20], plan: marked(1000, () => () => ['tidings_position', USER, ...claim([])]), isRight: hasUnread(100, 4) },
  { name: 'mark', title: 'mark as read beside 900 to 1,000 marks', calls: [100, 20], plan: marked(900, (ids) => (i) => mark(ids[900 + i]!)), isRight: hasUnread(100) },
  { name: 'sync', title: 'sync after a reconnect, 20 groups, nothing missed', calls: [2000, 40], plan: sync, isRight: ([, page]) => page[1] === 0 && page[8] === 0 },
  {
    name: 'group-publish',
    title: 'publish to a group of 100,000 members',
    calls: [2000, 40],
    plan: async (functions, isSmoke) => { await joined(functions, isSmoke); return (i) => publish('group:large', payload(i)) },
    isRight: hasId
  },
  { name: 'group-retract', title: 'retract from a group of 100,000 members', calls: [1000, 40], plan: retract, isRight: (reply) => reply === 1 },
  published('plain', 'without options', () => []),
  published('replay', 'KEEP replay', () => ['KEEP', 'replay']),
  published('none', 'KEEP none', () => ['KEEP', 'none'], (reply) => reply[0] === null),
  published('ttl', 'TTL 60', () => ['TTL', 60]),
  published('key', 'KEY, ten keys a user', (i) => ['KEY', `k${Math.floor(i / 1000) % 10}`]),
  published('idempotent', 'IDEMPOTENCY', (i) => ['IDEMPOTENCY', `i${i}`])
]
