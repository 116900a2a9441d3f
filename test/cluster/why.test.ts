// What nodes noted outlives them, and Redis: a node that was not there then says who got what.
import t from 'tap'
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
