// Slots: ours are those of CLUSTER KEYSLOT.
import t from 'tap'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { startRedis } from '../fixtures/redis.ts'

t.test('keySlot, of any key, is what Redis says', async (t) => {
  const redis = await startRedis(t, { args: ['--cluster-enabled', 'yes'] })
  const keys = ['', 'a', 'tidings', 'tidings:{0}', 'tidings:{63}:log:user:42', '{a', 'a}', '{}a', '{}{a}', 'a{b{c}d}', '{a}{b}', 'ä{ö}ü', '123456789', 'x'.repeat(1000)]
  for (const key of keys) t.equal(keySlot(key), await redis.cli('CLUSTER', 'KEYSLOT', key), key)
})
