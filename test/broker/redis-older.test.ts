// Older data in a Redis that goes on running: no connection breaks, and the process is the same.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { now, readPages, send } from './contract.ts'
import { becomes, startRedisNode, up } from './nodes.ts'

t.test('data, replaced by older data while Redis runs, is told to be missing to everyone from before, once, and said in the log', async (t) => {
  const own = await startRedis(t, { own: true, args: ['--dbfilename', 'older.rdb'] })
  const ways: Record<string, { keep: () => Promise<unknown>, bringBack: () => Promise<unknown> }> = {
    'a file read again': { keep: () => own.cli('SAVE'), bringBack: () => own.cli('DEBUG', 'RELOAD', 'NOSAVE') },
    'another database swapped in': {
      keep: async () => {
        for (const key of await own.cli('KEYS', '*') as string[]) await own.cli('COPY', key, key, 'DB', 1, 'REPLACE')
      },
      bringBack: () => own.cli('SWAPDB', 0, 1)
    }
  }
  const [node, other] = [startRedisNode(t, own, {}, own.prefix), startRedisNode(t, own, {}, own.prefix)]
  await Promise.all([up(node), up(other)])
  const looked = (): Promise<unknown> => own.cli('HGET', `${own.prefix}:config`, 'looked')
  for (const [name, { keep, bringBack }] of Object.entries(ways)) {
    await t.test(name, async (t) => {
      const cursor = await now(node)
      await keep()
      const lost = await send(node, 'user:1')
      const before = await looked()
      await becomes(async () => await looked() !== before, 'a look that is not in the kept data')
      const [saidBefore, linesBefore] = [node.said.length, node.ear.lines.length]
      await bringBack()
      // Others publish before any node looks, so the clock of ids is ahead again.
      const id = Number((await own.cli('FCALL', 'tidings_publish', 1, own.prefix, 'user:1', 'message', '{}').catch(() => ['0']) as string[])[0])
      await becomes(async () => (await readPages(other, { cursor }))[0]!.gap, 'a position from before to be told')
      await becomes(() => [node, other].every(({ said }) => said.some((line) => line.includes('older data'))), 'the log to say it')
      t.equal(node.said.slice(saidBefore).filter((line) => line.includes('older data')).length, 1)
      t.ok(node.ear.lines.length > linesBefore, 'live streams are filled again')
      const after = await send(node, 'user:1')
      t.ok(after > lost && after > id)
      t.notOk((await readPages(node, { cursor: after }))[0]!.gap, 'and nobody who comes later')
    })
  }
})
