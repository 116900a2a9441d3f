// Connections that several brokers share: whoever is closed leaves nothing behind in them.
import t from 'tap'
import { Links } from '../../src/broker/redis/links.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import { parseRedisUrl } from '../../src/redis-url.ts'
import { startRedis } from '../fixtures/redis.ts'
import { limits } from './contract.ts'
import { Ear } from './ear.ts'

t.test('a broker, closed while its connections serve others, hears of them no more', async (t) => {
  const { url, prefix } = await startRedis(t)
  const log = { info () {}, warn () {} }
  const links = new Links({ place: parseRedisUrl(url), nodeName: 'links', log })
  t.teardown(() => { links.close() })
  const broker = new RedisBroker({ ...limits, url, prefix, nodeName: 'links', log, links, onUp () {} })
  broker.start(new Ear())
  links.start()
  await broker.settled
  const link = links.of(prefix)!
  const listeners = (): number[] => [links.listenerCount('moved'), link.listenerCount('up'), link.listenerCount('loading')]
  t.same(listeners(), [2, 1, 1])
  await broker.close()
  t.same(listeners(), [0, 0, 0])
})
