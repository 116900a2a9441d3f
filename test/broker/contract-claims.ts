// The contract of a broker, continued: a token's claim is what its issuer says now, against the routes and against other tokens.
import type { Test } from 'tap'
import { enter, listOf, type MakeBackend, type Node, readerOf, send } from './contract.ts'

/** What happens, in turn: a claim of a token with an `iat`, or a call of the routes; and which groups the user is in after it. */
type Step = readonly [what: { iat: number, groups?: readonly string[] } | { join: string } | { leave: string } | { replace: readonly string[] }, groups: string]

const FUTURE = 4_000_000_000
const CASES: Record<string, readonly Step[]> = {
  'a newer claim takes away what an older one gave, and gives what it names': [
    [{ iat: 100, groups: ['a', 'b'] }, 'a b'],
    [{ iat: 200, groups: ['b', 'c'] }, 'b c'],
    [{ iat: 300, groups: [] }, '']
  ],
  'an older claim changes nothing': [
    [{ iat: 200, groups: ['a'] }, 'a'],
    [{ iat: 100, groups: ['b'] }, 'a'],
    [{ iat: 100, groups: [] }, 'a'],
    [{ iat: 0, groups: ['c'] }, 'a']
  ],
  'an older claim does not bring back what a newer one took': [
    [{ iat: 100, groups: ['a'] }, 'a'],
    [{ iat: 200, groups: [] }, ''],
    [{ iat: 100, groups: ['a'] }, ''],
    [{ iat: 199, groups: ['a'] }, ''],
    [{ iat: 201, groups: ['a'] }, 'a']
  ],
  'claims of one age add up': [
    [{ iat: 100, groups: ['a'] }, 'a'],
    [{ iat: 100, groups: ['b'] }, 'a b'],
    [{ iat: 100, groups: [] }, 'a b']
  ],
  'tokens that do not say their age count as of 1970': [
    [{ iat: 0, groups: ['a'] }, 'a'],
    [{ iat: 0, groups: ['b'] }, 'a b'],
    [{ iat: 1, groups: ['c'] }, 'c'],
    [{ iat: 0, groups: ['a'] }, 'c']
  ],
  'a token without a claim changes nothing, however new': [
    [{ iat: 100, groups: ['a'] }, 'a'],
    [{ iat: 300 }, 'a'],
    [{ iat: 200, groups: ['b'] }, 'b']
  ],
  'what the routes joined stays': [
    [{ join: 'a' }, 'a'],
    [{ iat: 100, groups: ['b'] }, 'a b'],
    [{ iat: 200, groups: [] }, 'a'],
    [{ replace: ['c'] }, 'c'],
    [{ iat: 300, groups: [] }, 'c']
  ],
  'what both gave stays when the claim goes': [
    [{ iat: 100, groups: ['a', 'b'] }, 'a b'],
    [{ join: 'a' }, 'a b'],
    [{ iat: 200, groups: [] }, 'a'],
    [{ iat: 300, groups: ['a'] }, 'a'],
    [{ iat: 400, groups: [] }, 'a']
  ],
  'what the routes took away, no token of before brings back, but one of later does': [
    [{ iat: 100, groups: ['a', 'b'] }, 'a b'],
    [{ leave: 'a' }, 'b'],
    [{ iat: 100, groups: ['a', 'b'] }, 'b'],
    [{ iat: 200, groups: ['a', 'b'] }, 'b'],
    [{ replace: [] }, ''],
    [{ iat: 300, groups: ['a', 'b'] }, ''],
    [{ iat: FUTURE, groups: ['a', 'b'] }, 'a b'],
    [{ iat: FUTURE + 1, groups: ['b'] }, 'b']
  ],
  'what the routes left and a claim gave again goes with the claim': [
    [{ join: 'a' }, 'a'],
    [{ leave: 'a' }, ''],
    [{ iat: FUTURE, groups: ['a'] }, 'a'],
    [{ iat: FUTURE + 1, groups: [] }, '']
  ]
}

const groupsOf = async ({ broker }: Node): Promise<string> => [...(await broker.groups('1')).keys()].sort().join(' ')

export function claims (t: Test, make: MakeBackend): void {
  for (const [name, steps] of Object.entries(CASES)) {
    t.test(`claims, ${name}`, async (t) => {
      const node = await make(t)
      const nodes = [await node(), await node()]
      for (const [i, [what, groups]] of steps.entries()) {
        const { broker } = nodes[i % 2]!
        if ('iat' in what) {
          const membership = await enter(broker, '1', { groups: what.groups, issuedAtSeconds: what.iat })
          t.equal([...membership.keys()].sort().join(' '), groups, `${i}: as the resume says`)
        } else if ('join' in what) await broker.join('1', what.join)
        else if ('leave' in what) await broker.leave('1', what.leave)
        else await broker.replaceGroups('1', what.replace)
        t.equal(await groupsOf(nodes[0]!), groups, `${i}: ${JSON.stringify(what)}`)
      }
    })
  }

  t.test('claims, that give and take, tell the user\'s channel', async (t) => {
    const a = await (await make(t))()
    await a.broker.subscribe(['user:1'])
    await enter(a.broker, '1', { groups: ['a'], issuedAtSeconds: 100 })
    await enter(a.broker, '1', { groups: ['a'], issuedAtSeconds: 100 })
    await enter(a.broker, '1', { groups: ['b'], issuedAtSeconds: 200 })
    await a.ear.id(await send(a, 'user:1', 'fence'))
    t.same(a.ear.memberships, ['join a', 'leave a', 'join b'])
  })

  t.test('claims, of whoever reads the inbox, count as well', async (t) => {
    const a = await (await make(t))()
    const reader = readerOf('1', { groups: ['a'], issuedAtSeconds: 100 })
    await a.broker.position(reader)
    t.equal(await groupsOf(a), 'a')
    const id = await send(a, 'group:a')
    t.match(await a.broker.list({ reader, limit: 10, unreadOnly: false }), { notifications: [{ id }] })
    t.match(await listOf(a, '1', { reader: { userId: '1' } }), { notifications: [{ id }] }, 'a back end without the user\'s token sees it, and changes nothing')
    t.match(await a.broker.list({ reader: readerOf('1', { groups: [], issuedAtSeconds: 200 }), limit: 10, unreadOnly: false }), { notifications: { length: 0 } })
    t.equal(await groupsOf(a), '')
  })
}
