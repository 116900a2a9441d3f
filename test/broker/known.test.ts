// What a node remembers of ids, by which it notices that Redis lost some.
import t from 'tap'
import { Known } from '../../src/broker/redis/known.ts'

t.test('an id that a new master answers before it is asked what it has, is not taken for the old one\'s', async (t) => {
  const known = new Known({ line: { newestId: 0 } })
  known.meets('old', 'writes of old')
  known.learns(100, '1', performance.now())
  known.saw(200)
  known.leaves()
  known.saw(300)
  known.meets('new', 'writes of new')
  t.equal(known.newestBefore, 200)
  known.saw(400)
  known.meets('newer', 'writes of newer')
  t.equal(known.newestBefore, 400)
})

t.test('the process that answered last, asked again after one that gave no answer, lacks nothing', async (t) => {
  const known = new Known({ line: { newestId: 0 } })
  known.meets('old', 'writes of old')
  known.learns(100, '1', performance.now())
  known.meets('master', 'writes of master')
  known.learns(200, '1', performance.now())
  known.saw(250)
  known.meets('takes no writes', 'writes of takes no writes')
  t.same([known.newestBefore, known.looked], [250, 0])
  known.meets('master', 'writes of master')
  t.same([known.newestBefore, known.looked], [100, 200], 'its data must know of its own last answer')
  known.meets('in between', 'writes of in between')
  known.saw(300)
  known.meets('master', 'writes of master')
  t.same([known.newestBefore, known.looked], [300, 0], 'but what was published in between is gone')
  known.learns(400, '1', performance.now())
  known.meets('takes no writes', '')
  known.meets('master', 'writes of a master that it followed meanwhile')
  t.same([known.newestBefore, known.looked], [400, 0], 'and what only it had, if it was a replica meanwhile')
})
