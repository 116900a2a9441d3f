// A rate limit over all nodes, of which each node counts a part by itself.
import t from 'tap'
import { Leases } from '../../src/http/leases.ts'

const elapsed = performance.now.bind(performance)
let aheadMs = 0
performance.now = () => elapsed() + aheadMs
t.teardown(() => { performance.now = elapsed })

/** The broker's count of one window, to which other nodes add. */
function newStore () {
  const told: number[] = []
  const store = {
    count: 0,
    told,
    hit: async (_home: string, _key: string, windowMs: number, hits = 1) => {
      told.push(hits)
      store.count += hits
      return { count: store.count, restMs: windowMs }
    }
  }
  return store
}

t.test('lease, far from the limit: the node counts by itself, for a second at most', async (t) => {
  const store = newStore()
  const leases = new Leases(store)
  const hit = async (weight?: number): Promise<number> => (await leases.hit('0', 'publish:a', 1000, 60_000, weight)).count
  t.same([await hit(), await hit(), await hit(5)], [1, 2, 7])
  t.same(store.told, [1])
  store.count += 990 // by other nodes
  aheadMs += 1001
  t.equal(await hit(), 998)
  t.same(store.told, [1, 7])
  t.same([await hit(), await hit(), await hit()], [999, 1000, 1001])
  t.same(store.told, [1, 7, 1, 1, 1], 'close to the limit the broker counts each')
})

t.test('lease, of a window that is over: begins anew', async (t) => {
  const store = newStore()
  const leases = new Leases(store)
  await leases.hit('0', 'publish:a', 1000, 60_000)
  store.count = 0
  aheadMs += 60_001
  t.match(await leases.hit('0', 'publish:a', 1000, 60_000), { count: 1 })
  t.same(store.told, [1, 1])
})

t.test('lease, of a window that another node has begun: ends with it', async (t) => {
  const store = newStore()
  const { hit } = store
  const leases = new Leases({ hit: async (home, key, _windowMs, hits) => await hit(home, key, 10_000, hits) })
  const { restMs } = await leases.hit('0', 'publish:a', 1000, 60_000)
  t.ok(restMs > 9000 && restMs <= 10_000, `${restMs}`)
  store.count = 0
  aheadMs += 10_001
  t.match(await leases.hit('0', 'publish:a', 1000, 60_000), { count: 1 })
})
