// What nodes noted outlives them, and Redis: a node that was not there then says who got what.
import t from 'tap'
import { Tamper, tamperAbsent } from '../../chaos/tamper.ts'
import { connect } from '../fixtures/client.ts'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'

t.test('why, of what a node wrote that has ended, before Redis was started anew: named all the same, with one partition and with two', async (t) => {
  const redis = await startRedis(t, { args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const issuer = createIssuer()
  const operator = { authorization: `Bearer ${issuer.token({ sub: 'operator', scope: `${PUBLISH} ${MANAGE}` })}`, 'content-type': 'application/json' }
  const worlds = ['1', '2'].map((partitions) => ({ ...redis.env, ...issuer.env, REDIS_PREFIX: `${redis.prefix}-${partitions}`, REDIS_PARTITIONS: partitions, RECEIPTS: 'all' }))
  const publish = async (url: string, to: string): Promise<string> => {
    const answer = await fetch(`${url}/api/notifications`, { method: 'POST', headers: operator, body: JSON.stringify({ to, data: 1 }) })
    return (await answer.json() as { notifications: [{ id: string }] }).notifications[0].id
  }
  const why = async (url: string, id: string): Promise<any> => await (await fetch(`${url}/api/users/42/why?id=${id}`, { headers: operator })).json()

  const before = await Promise.all(worlds.map(async (env) => {
    const node = await startNode(t, { env, name: 'first' })
    const stream = connect(t, { url: node.url, token: issuer.token(), reconnect: false })
    await stream.live()
    const had = await publish(node.url, 'user:42')
    await stream.next(({ id }) => id === had)
    stream.close()
    // It ended, as nodes have told each other.
    const told = await eventually(async () => await why(node.url, had), ({ streams }) => streams[0]?.ended === 'client', { what: 'the end of the stream is noted' })
    t.match(told, { verdict: 'written', streams: [{ outcome: 'written', how: 'live' }] })
    const missed = await publish(node.url, 'all')
    await node.stop()
    return { had, missed, told }
  }))
  await redis.restart()
  await Promise.all(worlds.map(async (env, i) => {
    const node = await startNode(t, { env, name: 'second' })
    const { had, missed, told } = before[i]!
    t.same(await why(node.url, had), told, 'the same stream, on the same node, at the same moment')
    t.match(await why(node.url, missed), { verdict: 'nobody-online', addresses: [{ to: 'all', state: 'kept' }] })
  }))
})

for (const partitions of ['1', '2']) {
  t.test(`why, of a stream whose node was killed and started again with its name, with ${partitions} partition(s): not confirmed, whatever the new process writes`, async (t) => {
    const redis = await startRedis(t)
    const issuer = createIssuer()
    const operator = { authorization: `Bearer ${issuer.token({ sub: 'operator', scope: `${PUBLISH} ${MANAGE}` })}`, 'content-type': 'application/json' }
    const env = { ...redis.env, ...issuer.env, REDIS_PARTITIONS: partitions, RECEIPTS: 'all' }
    const other = await startNode(t, { env, name: 'other' })
    const publish = async (to: string | string[]): Promise<string> => {
      const answer = await fetch(`${other.url}/api/notifications`, { method: 'POST', headers: operator, body: JSON.stringify({ to, data: 1 }) })
      return (await answer.json() as { notifications: [{ id: string }] }).notifications[0].id
    }
    const why = async (user: string, id: string): Promise<any> => await (await fetch(`${other.url}/api/users/${user}/why?id=${id}`, { headers: operator })).json()

    const killed = await startNode(t, { env, name: 'same' })
    const left = connect(t, { url: killed.url, token: issuer.token(), reconnect: false })
    await left.live()
    const had = await publish('user:42')
    await left.next(({ id }) => id === had)
    const told = await eventually(async () => await why('42', had), ({ verdict }) => verdict === 'written', { what: 'the node has told what it wrote' })
    t.match(told.streams, [{ node: 'same', outcome: 'written' }])
    await killed.kill()
    left.close()
    const missed = await publish('user:42')

    const again = await startNode(t, { env, name: 'same' })
    // Of the same partition, so that its watermark is that of the other user.
    const stays = connect(t, { url: again.url, token: issuer.token({ sub: '{42}' }), reconnect: false })
    await stays.live()
    // With one id for all, the new process writes what the one that was killed should have written.
    const later = await publish(['user:42', 'user:{42}', 'all'])
    const seen = await stays.next(({ event }) => event === 'message')
    await eventually(async () => await why('{42}', seen.id!), ({ verdict }) => verdict === 'written', { what: 'the new process has told what it wrote' })
    for (const id of [missed, later]) t.match(await why('42', id), { verdict: 'unconfirmed', streams: [{ node: 'same', outcome: 'unconfirmed' }] })
    t.match(await why('42', had), { verdict: 'written', sentence: told.sentence, streams: [{ node: 'same', outcome: 'written' }] }, 'what it told before its end stays')
  })
}

t.test('why, of what a node wrote whose clock is two hours behind: written when it was, by the clock of the id', { skip: tamperAbsent() ?? false }, async (t) => {
  const redis = await startRedis(t)
  const issuer = createIssuer()
  const operator = { authorization: `Bearer ${issuer.token({ sub: 'operator', scope: `${PUBLISH} ${MANAGE}` })}`, 'content-type': 'application/json' }
  const tamper = new Tamper(t)
  tamper.moveClock(-7200)
  const node = await startNode(t, { env: { ...redis.env, ...issuer.env, ...tamper.env, RECEIPTS: 'all' }, name: 'behind' })
  const stream = connect(t, { url: node.url, token: issuer.token(), reconnect: false })
  await stream.live()
  await fetch(`${node.url}/api/notifications`, { method: 'POST', headers: operator, body: '{"to":"user:42","data":1}' })
  const { id } = await stream.next()
  stream.close()
  const why = async (): Promise<any> => await (await fetch(`${node.url}/api/users/42/why?id=${id}`, { headers: operator })).json()
  const { publishedAt, verdict, streams: [story] } = await eventually(why, ({ streams }) => streams[0]?.ended === 'client', { what: 'the end of the stream is noted' })
  t.equal(verdict, 'written')
  const afterSeconds = (Date.parse(story.at) - Date.parse(publishedAt)) / 1000
  t.ok(afterSeconds > -1 && afterSeconds < 60, `written ${afterSeconds} s after it was published`)
})
