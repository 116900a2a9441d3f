// What each client was owed against what it got. Pure: nothing here knows how the run went.
import type { Ledger, Sent, Sync, Told } from './ledger.ts'

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

export function judge (ledger: Ledger, clients: readonly Judged[], dynamicGroups: readonly string[]): Verdict {
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
  const seenIds = new Map<number, Set<number>>()
  for (const client of clients) {
    const got = readTold(ledger, client, verdict, seenIds)
    readOwed(ledger, client, got, { byAddress, dynamicGroups, verdict })
    verdict.toldIncomplete += client.syncs.filter(({ resume }) => resume === 'incomplete').length
    if (client.closedBy !== undefined) {
      verdict.closedForGood++
      note(verdict, `${client.options.name}: CLOSED for good by ${client.closedBy}`)
    }
  }
  findTwice(ledger, seenIds, verdict)
  return verdict
}

function note (verdict: Verdict, text: string): void {
  if (verdict.cases.length < 40) verdict.cases.push(text)
}

/** Order, duplicates and strangers; the ids that the client got. */
function readTold (ledger: Ledger, client: Judged, verdict: Verdict, seenIds: Map<number, Set<number>>): Set<number> {
  const { options: { name }, told, syncs } = client
  const got = new Set<number>()
  const plain = new Set<string>()
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
        note(verdict, `${name}: the plain one with mark ${mark} twice on connection ${connection}`)
      }
      plain.add(key)
      return
    }
    const ids = seenIds.get(mark)
    if (ids === undefined) seenIds.set(mark, new Set([id]))
    else ids.add(id)
    if (got.has(id)) {
      verdict.duplicates++
      note(verdict, `${name}: ${id} again, on connection ${connection}`)
    } else if (id <= last) {
      verdict.outOfOrder++
      note(verdict, `${name}: ${id} after ${last} on connection ${connection}`)
    }
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
}

/** Once each, by however many addresses it was owed. */
function readOwed (ledger: Ledger, client: Judged, got: ReadonlySet<number>, { byAddress, dynamicGroups, verdict }: OwedParts): void {
  const { options: { name, userId, groups }, syncs } = client
  const first = syncs[0]?.id ?? Infinity
  const gaps = gapsOf(client)
  const accounted = new Set<number>()
  const account = (address: string, id: number): void => {
    if (id <= first || accounted.has(id)) return
    accounted.add(id)
    verdict.owed++
    if (got.has(id)) verdict.received++
    else if (gaps.some(({ after, upTo }) => id > after && id <= upTo)) verdict.covered++
    else {
      verdict.lost++
      note(verdict, `${name}: lost ${id} to ${address}; ${neighbours(client, id)}`)
    }
  }
  for (const address of ['all', `user:${userId}`, ...groups.map((group) => `group:${group}`)]) {
    for (const { id } of byAddress.get(address) ?? []) account(address, id)
  }
  for (const group of dynamicGroups) {
    const stays = ledger.stays(userId, group)
    for (const { id } of byAddress.get(`group:${group}`) ?? []) {
      if (stays.some(({ since, until }) => id > since && id < until)) account(`group:${group}`, id)
    }
  }
}

/**
 * What an `incomplete` covers: from where the client stood up to its own position. Where it stood: at its last `sync` before,
 * and what came live after that. History that was cut off before its `sync` said nothing of what was before it,
 * unless the first words were that something is missing.
 */
function gapsOf ({ told, syncs }: Judged): Array<{ after: number, upTo: number }> {
  return syncs.flatMap((sync, index) => {
    if (sync.resume !== 'incomplete') return []
    // Where the history begins that came with it.
    let at = sync.toldBefore
    for (let left = sync.replayed; left > 0 && at > 0 && told[at - 1]!.connection === sync.connection; at--) if (told[at - 1]!.id !== 0) left--
    const before = syncs[index - 1]
    let after = before?.id ?? 0
    for (let i = at - 1; i >= (before?.toldBefore ?? 0); i--) if (told[i]!.connection === before?.connection) after = Math.max(after, told[i]!.id)
    return [{ after, upTo: Math.max(sync.id, sync.newest ?? 0) }]
  })
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

/** One publish, one id, whatever the number of its addresses and however often it was tried. A data loss in between takes the memory of it along. */
function findTwice (ledger: Ledger, seenIds: ReadonlyMap<number, ReadonlySet<number>>, verdict: Verdict): void {
  for (const { mark, to, ids, lossesBefore, lossesAfter } of ledger.sent) {
    const all = new Set([...ids, ...seenIds.get(mark) ?? []])
    if (all.size < 2 || ids.length === 0 || lossesBefore !== lossesAfter) continue
    verdict.publishedTwice++
    note(verdict, `mark ${mark} to ${to.join(', ')} was acknowledged as ${ids.join(', ')} and came as ${[...seenIds.get(mark) ?? []].join(', ') || 'nothing'}`)
  }
}
