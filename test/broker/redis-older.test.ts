// Older data in a Redis that goes on running, where no connection breaks and the process is the same; and what must not be taken for older data.
import t from 'tap'
import { library } from '../../src/broker/redis/library.ts'
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
  const looked = (): Promise<unknown> => own.cli('HGET', `${own.prefix}:config`, 'looks')
  for (const [name, { keep, bringBack }] of Object.entries(ways)) {
    await t.test(name, async (t) => {
      const cursor = await now(node)
      await keep()
      const lost = await send(node, 'user:1')
      const before = await looked()
      await becomes(async () => await looked() !== before, 'a look that is not in the kept data')
      const nodes = [node, other].map(({ said, ear }) => ({ said, ear, saidBefore: said.length, linesBefore: ear.lines.length }))
      await bringBack()
      // Others publish before any node looks, so the clock of ids is ahead again.
      const id = Number((await own.cli('FCALL', 'tidings_publish', 1, own.prefix, 'user:1', 'message', '{}').catch(() => ['0']) as string[])[0])
      await becomes(async () => (await readPages(other, { cursor }))[0]!.gap, 'a position from before to be told')
      await becomes(() => nodes.every(({ said, saidBefore }) => said.slice(saidBefore).some((line) => line.includes('older data'))), 'the log to say it')
      await becomes(() => nodes.every(({ ear, linesBefore }) => ear.lines.length > linesBefore), 'live streams to be filled again')
      for (const { said, saidBefore } of nodes) t.equal(said.slice(saidBefore).filter((line) => line.includes('older data')).length, 1)
      const after = await send(node, 'user:1')
      t.ok(after > lost && after > id)
      t.notOk((await readPages(node, { cursor: after }))[0]!.gap, 'and nobody who comes later')
    })
  }
})

t.test('older data, that another node has looked at since, is found out by the node whose look it lacks, once', async (t) => {
  const own = await startRedis(t, { own: true, args: ['--dbfilename', 'looks.rdb'] })
  await own.cli('FUNCTION', 'LOAD', library())
  const look = async (known: number, { run = 'run', newestBefore = 0 } = {}): Promise<{ born: string, id: number }> => {
    const [, born, id] = await own.cli('FCALL', 'tidings_configure', 1, own.prefix, 0, 1000, 1000, 86_400, 65_536, run, newestBefore, 0, 0, 0, known) as [number, string, string]
    return { born, id: Number(id) }
  }
  const [first, other] = [await look(0), await look(0)]
  await own.cli('SAVE')
  const lacking = await look(first.id)
  await own.cli('DEBUG', 'RELOAD', 'NOSAVE')
  const after = await look(other.id)
  t.equal(after.born, first.born, 'this node knows of nothing that is not there')
  const told = await look(lacking.id)
  t.ok(Number(told.born) > after.id, 'the history begins anew')
  t.equal((await look(after.id)).born, told.born)

  for (let i = 0; i < 200; i++) await look(0)
  t.equal((await look(told.id)).born, told.born, 'a look so long ago need not be known')
  t.ok((await own.cli('HGET', `${own.prefix}:config`, 'looks') as string).length < 1200)

  const { id } = await look(0)
  const lost = await look(0, { run: 'other run', newestBefore: id + 1 })
  t.ok(Number(lost.born) > id)
  t.equal((await look(0, { run: 'other run', newestBefore: id + 2 })).born, lost.born, 'the history begins once, also if another node knows of something newer')
})

t.test('data that is all there after a restart is not told to be missing by a node that hears the new process before it asks it', async (t) => {
  const args = ['--appendonly', 'yes', '--appendfsync', 'always', '--user', 'late', 'on', 'nopass', '~*', '&*', '+@all', '-fcall_ro']
  const own = await startRedis(t, { args })
  const letIn = async (): Promise<void> => { await own.cli('ACL', 'SETUSER', 'late', '+fcall_ro') }
  await letIn()
  const node = startRedisNode(t, own, {}, own.prefix)
  const late = startRedisNode(t, { url: own.url.replace('//', '//late:any@'), prefix: own.prefix })
  await Promise.all([up(node), up(late)])
  await late.broker.subscribe(['user:1'])
  const cursor = await now(node)
  await own.restart() // the late one may listen, and ask nothing yet
  await up(node)
  await becomes(async () => {
    await send(node, 'user:1')
    return late.ear.notifications.length > 0
  }, 'the late one to hear the new process')
  t.notOk(late.broker.state().up)
  await letIn()
  await up(late)
  t.notOk((await readPages(node, { cursor }))[0]!.gap)
  t.notOk(late.said.some((text) => text.includes('data was lost')))
})

t.test('data that lacks its newest after a restart is told to be missing although a service publishes before any node is back, and whole data is not', async (t) => {
  const own = await startRedis(t, { own: true, args: ['--dbfilename', 'early.rdb', '--user', 'node', 'on', 'nopass', '~*', '&*', '+@all'] })
  const node = startRedisNode(t, { url: own.url.replace('//', '//node:any@'), prefix: own.prefix })
  await up(node)
  const lock = async (): Promise<void> => {
    await own.cli('ACL', 'SETUSER', 'node', 'off')
    await own.cli('CLIENT', 'KILL', 'USER', 'node')
  }
  for (const isWhole of [true, false]) {
    await own.cli('SAVE')
    const cursor = await send(node, 'user:1')
    await lock()
    if (isWhole) await own.cli('SAVE')
    await own.kill()
    await own.start()
    await lock()
    await own.cli('FCALL', 'tidings_publish', 1, own.prefix, 'user:1', 'message', '{}')
    await own.cli('ACL', 'SETUSER', 'node', 'on')
    await up(node)
    t.equal((await readPages(node, { cursor }))[0]!.gap, !isWhole)
    t.equal(node.said.some((line) => line.includes('older data')), !isWhole)
  }
})
