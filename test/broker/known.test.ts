// What a node remembers of ids, by which it notices that Redis lost some.
import t from 'tap'
import { Known } from '../../src/broker/redis/known.ts'

t.test('an id that a new master answers before it is asked what it has, is not taken for the old one\'s', async (t) => {
  const known = new Known({ line: { newestId: 0 } })
  known.meets('old')
  known.learns(100, '1', performance.now())
  known.saw(200)
  known.leaves()
  known.saw(300)
  known.meets('new')
  t.equal(known.newestBefore, 200)
  known.saw(400)
  known.meets('newer')
  t.equal(known.newestBefore, 400)
})
