// A Redis that refuses while nodes run: they are not ready, say why, and do not say it over and over.
import { readFileSync } from 'node:fs'
import net from 'node:net'
import t from 'tap'
import { explain } from '../../src/broker/redis/diagnosis.ts'
import { startRedis } from '../fixtures/redis.ts'
import { wordsOf } from '../security/recipes.ts'
import { send } from './contract.ts'
import { becomes, startRedisNode, up } from './nodes.ts'

const count = (said: readonly string[], pattern: RegExp): number => said.filter((text) => pattern.test(text)).length

t.test('the right to publish, taken away while nodes run: not ready, as nothing proves that messages arrive, until it is back', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis)
  await up(node)
  await redis.cli('ACL', 'SETUSER', 'default', '-publish')
  await becomes(() => !node.broker.state().up, 'the node to notice', 5000)
  t.match(node.broker.state().detail, /may not do what a node must.*'publish'/)
  t.match(node.ear.lines, ['interrupted'])
  await redis.cli('ACL', 'SETUSER', 'default', '+publish')
  await becomes(() => node.broker.state().up, 'the node to be back', 5000)
  t.match(node.ear.lines, ['interrupted', 'restored'])
})

t.test('the password, changed while nodes run: the reason stays the reason, and is said once', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis)
  await up(node)
  await redis.cli('CONFIG', 'SET', 'requirepass', 'another')
  await redis.cli('AUTH', 'another')
  const attempts = async (): Promise<number> => Number(/total_connections_received:(\d+)/.exec(String(await redis.cli('INFO', 'stats')))![1])
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
  await becomes(() => /another user or password/.test(node.broker.state().detail), 'the reason')
  const [before, details] = [await attempts(), new Set<string>()]
  await becomes(async () => {
    details.add(node.broker.state().detail)
    return await attempts() >= before + 16
  }, 'more attempts', 30_000)
  t.equal(details.size, 1, [...details].join('; '))
  t.equal(count(node.said, /another user or password/), 1, node.said.join('\n'))
  await redis.cli('CONFIG', 'SET', 'requirepass', '')
  await up(node)
})

t.test('the password, changed as docs/security.md says: no node is refused, and the old one is out', async (t) => {
  const page = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8')
  const [, section = ''] = /^### Changing the password of Redis$(.*?)^### /ms.exec(page)!
  const [both, old, cut] = [...section.matchAll(/^redis-cli (.*)$/gm)].map(([, line]) => wordsOf(line!))
  const redis = await startRedis(t, { own: true })
  await redis.cli('CONFIG', 'SET', 'requirepass', 'the old password')
  await redis.cli('AUTH', 'the old password')
  const withPassword = (password: string) => ({ ...redis, url: redis.url.replace('://', `://:${encodeURIComponent(password)}@`) })
  const before = startRedisNode(t, withPassword('the old password'))
  await up(before)
  await redis.cli(...both!)
  const after = startRedisNode(t, withPassword('the new password'), {}, redis.prefix)
  await up(after)
  await before.broker.subscribe(['all'])
  await after.broker.subscribe(['all'])
  await before.ear.id(await send(after, 'all'))
  await redis.cli(...old!)
  await redis.cli(...cut!)
  await becomes(() => /another user or password/.test(before.broker.state().detail), 'the old password to be refused')
  await up(after)
  await after.ear.id(await send(after, 'all'))
  t.equal(count(after.said, /another user or password/), 0, after.said.join('\n'))
})

t.test('an error that no node expects is logged once, however many requests meet it', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis)
  await up(node)
  await redis.cli('SET', `${redis.prefix}:groups:ann`, 'x')
  for (let i = 0; i < 5; i++) await t.rejects(node.broker.groups('ann'), /^a key under REDIS_PREFIX/)
  t.equal(count(node.said, /^Redis: a key under REDIS_PREFIX/), 1)
})

t.test('commands, taken away by the configuration of Redis: each kind has its sentence, without the arguments', async (t) => {
  for (const [command, pattern] of [
    ['PUBLISH', /^cannot subscribe: this Redis does not know a command .* \(rename-command\); .* \[ERR unknown command 'publish'\]$/],
    ['XADD', /^this Redis does not know a command .* \(rename-command\); .* \[ERR Invalid command/],
    ['TIME', /^this Redis does not know a command .* \(rename-command\); .* \[ERR Unknown (Redis )?command/] // Valkey leaves the word out
  ] as const) {
    const redis = await startRedis(t, { args: ['--rename-command', command, ''] })
    const { broker, said } = startRedisNode(t, redis)
    await becomes(() => pattern.test(broker.state().detail), `${command} to be missed, not ${broker.state().detail}`)
    t.ok(said.some((text) => /does not know a command/.test(text)), command)
    await broker.close()
  }
})

t.test('a Redis that does not know AUTH repeats the password: it stands neither in the log nor in the state', async (t) => {
  const redis = await startRedis(t, { args: ['--rename-command', 'AUTH', '', '--rename-command', 'HELLO', ''] })
  const { broker, said } = startRedisNode(t, { ...redis, url: redis.url.replace('redis://', 'redis://ann:pass-word@') })
  await becomes(() => /\[ERR unknown command 'auth'\]$/.test(broker.state().detail), 'the reason, without the password')
  t.match(said, [/\[ERR unknown command 'auth'\]; trying again/])
  t.notMatch(said.join(), /pass-word/)
})

t.test('a Redis in protected mode, which speaks before it is asked and hangs up: that is among the reasons', async (t) => {
  const words = '-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user.'
  const refusing = net.createServer((client) => { client.on('error', () => {}).end(`${words}\r\n`) })
  await new Promise<void>((resolve) => { refusing.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { refusing.close() })
  const { broker } = startRedisNode(t, { url: `redis://127.0.0.1:${(refusing.address() as net.AddressInfo).port}`, prefix: 'protected' })
  await becomes(() => /in protected mode \(no password/.test(broker.state().detail), 'the reason')
  t.match(explain(words.slice(1)), /^Redis is in protected mode: .*requirepass/)
})
