// Tickets and passes. Only their hashes are stored, so that whoever can read the store cannot use them.
//
//   principal:<hash>      the principal as JSON, once for each token, until the token expires
//   ticket:<hash>         <place> <principal's hash>, 30 s
//   pass:<place>          <ticket's hash> <pass's hash> <principal's hash>, until the token expires
//   tickets:<user hash>   how many tickets the user has had, which gives the next place; until the last pass expires
//
// Each user has PLACES places for spent tickets, used in turn, so what one user can store is bounded.
import { createHash, randomBytes } from 'node:crypto'
import type { Store } from '../broker/broker.ts'
import { type ErrorCode, TidingsError } from '../errors.ts'
import type { Principal } from './auth.ts'
import { BROKER_ERRORS } from './errors.ts'
import type { SigningKey } from './key-set.ts'
import type { TicketReason } from './refusals.ts'

export const TICKET_SECONDS = 30
/**
 * How many streams of a user that were opened by ticket can reconnect by themselves. With one more, the oldest needs a
 * new ticket.
 */
const PLACES = 128
/** A pass lives as long as its token, but no longer than browsers keep a cookie. */
const MAX_PASS_SECONDS = 400 * 86_400

/** The errors of a route that takes tickets, for the OpenAPI document. */
export const TICKET_ERRORS: readonly ErrorCode[] = ['TIDINGS_BAD_TICKET', 'TIDINGS_TOKEN_EXPIRED', ...BROKER_ERRORS]

export interface StoredPrincipal extends Principal {
  /** Undefined if an older version stored it. */
  readonly signedBy?: SigningKey
}

/** What a ticket stands for. */
export interface Redeemable {
  readonly principal: StoredPrincipal
  /** Whether the ticket was used. Then it is only valid with the pass that its first use set. */
  readonly isSpent: boolean
  readonly ticket: string
  readonly place: string
  readonly principalHash: string
  readonly passHash: string | undefined
}

export interface Pass {
  readonly name: string
  readonly value: string
  readonly maxAgeSeconds: number
}

const secret = (): string => randomBytes(32).toString('base64url')
const hash = (text: string): string => createHash('sha256').update(text).digest('base64url')
const userHash = (userId: string): string => hash(userId).slice(0, 16)

/**
 * The cookie's name contains the user, so that two users in two tabs of one browser do not overwrite each other's pass.
 */
export const passName = (userId: string): string => `tidings_pass_${userHash(userId)}`

export async function issueTicket (store: Store, principal: StoredPrincipal): Promise<string> {
  const { userId } = principal
  const home = store.homeOf(userId)
  const text = JSON.stringify(principal)
  const principalHash = hash(text)
  const count = await store.ordinal(home, `tickets:${userHash(userId)}`, TICKET_SECONDS + secondsLeft(principal))
  const place = `${userHash(userId)}.${count % PLACES}`
  const ticket = `${home}.${place}.${secret()}`
  await Promise.all([
    store.put(home, `principal:${principalHash}`, text, Math.max(TICKET_SECONDS, secondsLeft(principal))),
    store.put(home, `ticket:${hash(ticket)}`, `${place} ${principalHash}`, TICKET_SECONDS)
  ])
  return ticket
}

/** Looks a ticket up without changing anything. Undefined: it is unknown or has expired. */
export async function findTicket (store: Store, ticket: string): Promise<Redeemable | undefined> {
  const { home, place } = partsOf(ticket)
  if (home === undefined || place === undefined) return undefined
  const ticketHash = hash(ticket)
  const fresh = await store.get(home, `ticket:${ticketHash}`)
  const [spentHash, passHash, spentPrincipal] = fresh !== undefined ? [] : (await store.get(home, `pass:${place}`) ?? '').split(' ')
  const principalHash = fresh !== undefined ? fresh.split(' ')[1] : spentHash === ticketHash ? spentPrincipal : undefined
  const text = principalHash === undefined ? undefined : await store.get(home, `principal:${principalHash}`)
  if (text === undefined || principalHash === undefined) return undefined
  return { principal: JSON.parse(text) as StoredPrincipal, isSpent: fresh === undefined, ticket, place, principalHash, passHash }
}

/**
 * Spends a ticket for a single request that opens no stream, without a pass. Rejects with TIDINGS_BAD_TICKET or
 * TIDINGS_TOKEN_EXPIRED, and as `checkKey` does for the key of its token.
 */
export async function redeem (store: Store, ticket: string, checkKey: (signedBy: SigningKey) => Promise<void>): Promise<StoredPrincipal> {
  const { home } = partsOf(ticket)
  const taken = home === undefined ? undefined : await store.take(home, `ticket:${hash(ticket)}`)
  const text = taken === undefined ? undefined : await store.get(home!, `principal:${taken.split(' ')[1]!}`)
  if (text === undefined) throw new TidingsError('TIDINGS_BAD_TICKET')
  const principal = JSON.parse(text) as StoredPrincipal
  if (principal.expiresAtSeconds * 1000 <= Date.now()) throw expiredTicket()
  if (principal.signedBy !== undefined) await checkKey(principal.signedBy)
  return principal
}

/** The ticket is good, and its token has ended. */
export const expiredTicket = (): TidingsError => new TidingsError('TIDINGS_TOKEN_EXPIRED').because('token-expired' satisfies TicketReason)

export function isPassOf ({ passHash }: Redeemable, pass: string | undefined): boolean {
  return pass !== undefined && passHash === hash(pass)
}

/**
 * Exchanges a ticket for its pass atomically. If several requests try at once, one gets the pass and the others get
 * undefined.
 */
export async function spend (store: Store, { principal, ticket, place, principalHash }: Redeemable): Promise<Pass | undefined> {
  const home = store.homeOf(principal.userId)
  const pass = { name: passName(principal.userId), value: secret(), maxAgeSeconds: secondsLeft(principal) }
  const text = `${hash(ticket)} ${hash(pass.value)} ${principalHash}`
  const spent = await store.exchange(home, `ticket:${hash(ticket)}`, { key: `pass:${place}`, text, seconds: pass.maxAgeSeconds })
  return spent === undefined ? undefined : pass
}

/** A ticket names the partition and the place of its user. Both are undefined if the text is no ticket. */
function partsOf (ticket: string): { home?: string | undefined, place?: string | undefined } {
  const [, home, place] = /^([^.]*)\.([\w-]{16}\.\d{1,3})\.[\w-]{43}$/.exec(ticket) ?? []
  return { home, place }
}

function secondsLeft ({ expiresAtSeconds }: Principal): number {
  return Math.max(1, Math.min(Math.ceil(expiresAtSeconds - Date.now() / 1000), MAX_PASS_SECONDS))
}
