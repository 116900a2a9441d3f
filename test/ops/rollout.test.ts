// A rollout with the chart's own times (short ones, of ci/rollout-values.yaml): no dead tab, no storm, nothing lost.
import t from 'tap'
import { complaints, playRollout } from './rollout.ts'

const NODES = 3
const STREAMS = 150

t.test('rollout: all nodes replaced under load; every tab lives, resumes complete, and comes back in its own second', async (t) => {
  const result = await playRollout(t, { values: 'rollout', nodes: NODES, streams: STREAMS, publishesPerSecond: 10 })
  const { leavings, published, reconnects, resumes, peakPerSecond, awayMs, sentBack, seconds } = result
  t.same(complaints(result, STREAMS), [])
  t.equal(leavings.length, NODES)
  t.ok(published > 50 && (resumes.complete ?? 0) >= STREAMS, `${published} published; ${reconnects} reconnects, ${sentBack} sent back once more`)
  t.comment(`${Math.round(seconds)} s; at most ${peakPerSecond} came back in a second; away at most ${awayMs.max} ms, p99 ${awayMs.p99} ms`)
})
