// What each client was owed against what it got. Pure: nothing here knows how the run went.
import { Division } from './division.ts'
import { isUnsettled, type Ledger, type Sent, type Stay, type Sync, type Told } from './ledger.ts'
import { Locals } from './locals.ts'
import { Orders } from './orders.ts'

export interface Judged {
  readonly options: { readonly name: string, readonly userId: string, readonly groups: readonly string[] }
  readonly told: readonly Told[]
  readonly syncs: readonly Sync[]
  readonly closedBy: string | undefined
}

export interface Verdict {
  clients: number
  owed: number
  received: number
  /** Owed, not got, and covered by an `incomplete`. */
  covered: number
  lost: number
  duplicates: number
  outOfOrder: number
  foreign: number
  publishedTwice: number
  toldIncomplete: number
  closedForGood: number
  /** All that clients were told, plain ones too. */
  told: number
  plain: number
  /** For a person: the first cases of each kind. */
  readonly cases: string[]
}

/** What must be 0. */
export const mustBeZero = ['lost', 'duplicates', 'outOfOrder', 'foreign', 'publishedTwice', 'closedForGood'] as const

const UNDIVIDED = new Division({ root: '', count: 1, isCluster: false })

export interface JudgeOptions {
  readonly division?: Division
  /** Which ids notifications have in the partitions. Default: as the clients tell. */
  readonly locals?: Locals
}

export function judge (
  ledger: Ledger, clients: readonly Judged[], dynamicGroups: readonly string[],
  { division = UNDIVIDED, locals = new Locals(division, clients) }: JudgeOptions = {}
): Verdict {
  const verdict: Verdict = {
    clients: clients.length,
    owed: 0,
    received: 0,
    covered: 0,
    lost: 0,
    duplicates: 0,
    outOfOrder: 0,
    foreign: 0,
    publishedTwice: 0,
    toldIncomplete: 0,
    closedForGood: 0,
    told: 0,
    plain: 0,
    cases: []
  }
  const byAddress = ledger.byAddress()
  for (const client of clients) {
    const got = readTold(ledger, client, verdict, division)
    readOwed(ledger, client, got, { byAddress, dynamicGroups, verdict, locals })
    verdict.toldIncomplete += client.syncs.filter(({ resume }) => resume === 'incomplete').length
    if (client.closedBy !== undefined) {
      verdict.closedForGood++
      note(verdict, `${client.options.name}: CLOSED for good by ${client.closedBy}`)
    }
  }
  findTwice(ledger, locals, verdict)
  return verdict
}

function note (verdict: Verdict, text: string): void {
  if (verdict.cases.length < 40) verdict.cases.push(text)
}

/** Order, duplicates and strangers; the ids that the client got. */
function readTold (ledger: Ledger, client: Judged, verdict: Verdict, division: Division): Set<number> {
  const { options: { name }, told, syncs } = client
  const got = new Set<number>()
  const plain = new Set<string>()
  const orders = new Orders(division, (text) => {
    verdict.outOfOrder++
    note(verdict, `${name}: ${text}`)
  })
  let last = 0
  let sync = 0
  const readSyncs = (before: number): void => {
    for (; sync < syncs.length && syncs[sync]!.toldBefore <= before; sync++) {
      const { id, connection } = syncs[sync]!
      if (id < last) {
        verdict.outOfOrder++
        note(verdict, `${name}: sync ${id} after ${last} on connection ${connection}`)
      }
      last = Math.max(last, id)
    }
  }
  told.forEach(({ id, mark, connection }, index) => {
    readSyncs(index)
    const sent = ledger.sent[mark]
    verdict.told++
    if (sent === undefined || !mayHave(ledger, client, sent, id)) {
      verdict.foreign++
      note(verdict, `${name}: ${id} (mark ${mark}) was for ${sent?.to.join(', ') ?? 'nobody: it was never sent'}`)
    }
    if (id === 0) {
      verdict.plain++
      const key = `${connection} ${mark}`
      if (plain.has(key)) {
        verdict.duplicates++
        note(verdict, `${name}: the plain one with mark ${mark} twice on connection ${connection} (${sent === undefined ? 'never sent' : ledger.tell(sent)})`)
      }
      plain.add(key)
      return
    }
    if (got.has(id)) {
      verdict.duplicates++
      note(verdict, `${name}: ${id} again, on connection ${connection} (${sent === undefined ? 'never sent' : ledger.tell(sent)})`)
    } else if (id <= last) {
      verdict.outOfOrder++
      note(verdict, `${name}: ${id} after ${last} on connection ${connection}`)
    }
    if (sent !== undefined && !got.has(id) && !ledger.isOverChange([id])) orders.follow(sent, id)
    got.add(id)
    last = Math.max(last, id)
  })
  readSyncs(told.length)
  return got
}

function mayHave (ledger: Ledger, { options: { userId, groups } }: Judged, sent: Sent, id: number): boolean {
  return sent.to.some((address) => {
    if (address === 'all' || address === `user:${userId}`) return true
    if (!address.startsWith('group:')) return false
    const group = address.slice(6)
    return groups.includes(group) || ledger.stays(userId, group).some(({ asked, gone }) => id === 0 || (id > asked && id < gone))
  })
}

interface OwedParts {
  readonly byAddress: ReadonlyMap<string, ReadonlyArray<{ id: number, sent: Sent }>>
  readonly dynamicGroups: readonly string[]
  readonly verdict: Verdict
  readonly locals: Locals
}

/** Once each, by however many addresses it was owed. */
function readOwed (ledger: Ledger, client: Judged, got: ReadonlySet<number>, { byAddress, dynamicGroups, verdict, locals }: OwedParts): void {
  const { options: { name, userId, groups }, syncs } = client
  const first = syncs[0]
  const gaps = gapsOf(client)
  const accounted = new Set<string>()
  /** `stays`: of a group that is joined and left. */
  const account = (address: string, { id: answered, sent }: { id: number, sent: Sent }, stays?: readonly Stay[]): void => {
    const key = `${sent.mark} ${answered}`
    // Where no partition of theirs is known to have it, the times of the run say whether it was owed.
    const id = locals.idOf(userId, sent, answered)
    const isLater = first !== undefined && (id === undefined ? sent.askedMs > first.atMs : id > first.id)
    if (!isLater || accounted.has(key)) return
    if (stays?.some((stay) => isWithin(stay, sent, id)) === false) return
    accounted.add(key)
    verdict.owed++
    if (id !== undefined && (got.has(id) || [...locals.idsOf(userId, sent)].some((one) => got.has(one)))) verdict.received++
    else if (gaps.some((gap) => covers(gap, sent, id))) verdict.covered++
    else {
      verdict.lost++
      note(verdict, `${name}: lost ${answered}${id === answered ? '' : ` (${id ?? 'unknown'} there)`} to ${address} (${ledger.tell(sent)}); ${neighbours(client, id ?? answered)}`)
    }
  }
  function covers ({ after, upTo, atMs }: Gap, sent: Sent, id: number | undefined): boolean {
    const isLater = atMs > sent.askedMs
    if (id === undefined || isUnsettled(sent)) return isLater
    return id <= upTo && (id > after || (isLater && ledger.mayHaveOldId(sent)))
  }

  for (const address of ['all', `user:${userId}`, ...groups.map((group) => `group:${group}`)]) {
    for (const one of byAddress.get(address) ?? []) account(address, one)
  }
  for (const group of dynamicGroups) {
    const stays = ledger.stays(userId, group)
    for (const one of byAddress.get(`group:${group}`) ?? []) account(`group:${group}`, one, stays)
  }

  /** Where there are several partitions, who publishes may have asked who has members before the join was answered. */
  function isWithin (stay: Stay, { askedMs, answeredMs }: Sent, id: number | undefined): boolean {
    if (!locals.isOne && askedMs < stay.sinceMs) return false
    return id === undefined ? answeredMs < stay.untilMs : id > stay.since && id < stay.until
  }
}

/**
 * What an `incomplete` covers: from where the client stood up to its own position. Where it stood: at its last `sync`
 * before, and what came live after that. History that was cut off before its `sync` said nothing of what was before it,
 * unless the first words were that something is missing.
 */
function gapsOf ({ told, syncs }: Judged): Gap[] {
  return syncs.flatMap((sync, index) => {
    if (sync.resume !== 'incomplete') return []
    // Where the history begins that came with it.
    let at = sync.toldBefore
    for (let left = sync.replayed; left > 0 && at > 0 && told[at - 1]!.connection === sync.connection; at--) if (told[at - 1]!.id !== 0) left--
    const before = syncs[index - 1]
    let after = before?.id ?? 0
    for (let i = at - 1; i >= (before?.toldBefore ?? 0); i--) if (told[i]!.connection === before?.connection) after = Math.max(after, told[i]!.id)
    return [{ after, upTo: Math.max(sync.id, sync.newest ?? 0), atMs: sync.atMs }]
  })
}

interface Gap {
  readonly after: number
  readonly upTo: number
  /** When it was told, in milliseconds of `performance.now()`. */
  readonly atMs: number
}

/** Where in the client's life a missing id should have been. */
function neighbours ({ told, syncs }: Judged, id: number): string {
  const next = told.find((one) => one.id > id)
  const before = told.findLast((one) => one.id !== 0 && one.id < id)
  const sync = syncs.findLast((one) => one.id < id)
  const after = syncs.find((one) => one.id > id)
  return `got ${before?.id ?? 'nothing'} (connection ${before?.connection ?? '-'}) before and ${next?.id ?? 'nothing'} (${next?.connection ?? '-'}) after; ` +
    `sync ${sync?.id} ${sync?.resume} (${sync?.connection}) before and ${after?.id} ${after?.resume} (${after?.connection}) after`
}

/**
 * One publish, one id, whatever the number of its addresses and however often it was tried. A data loss in between
 * takes the memory of it along.
 */
function findTwice (ledger: Ledger, locals: Locals, verdict: Verdict): void {
  for (const sent of ledger.sent) {
    const { ids, lossesBefore, lossesAfter } = sent
    const seen = locals.seen(sent).filter(({ ids, isCopy }) => ids.size < 2 || !isCopy || !ledger.isOverChange(ids)).map(({ ids }) => ids)
    if ((ids.length < 2 && seen.every((some) => some.size < 2)) || ids.length === 0 || lossesBefore !== lossesAfter || isUnsettled(sent)) continue
    verdict.publishedTwice++
    note(verdict, `${ledger.tell(sent)}, came as ${seen.map((some) => [...some].join(', ')).join('; ') || 'nothing'}`)
  }
}
