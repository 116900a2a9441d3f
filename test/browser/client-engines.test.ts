// The main cases of the browser module, and what the stream promises to a plain EventSource, in Firefox, WebKit and Chromium.
import t from 'tap'
import type { EngineName } from '../fixtures/engines.ts'
import { startGround, startVisitor } from '../fixtures/client-lab.ts'

for (const engine of ['chromium', 'firefox', 'webkit'] satisfies EngineName[]) {
  t.test(engine, { timeout: 180_000 }, async (t) => {
    const ground = await startGround(t, {}, engine)
    const { publish } = ground

    await t.test('two tabs on one stream; the leader is closed, the line is cut: each gets each once', async (t) => {
      const { door, tab, to } = await startVisitor(t, ground)
      const [one, two, three] = [await tab(), await tab(), await tab()]
      for (const each of [one, two, three]) await each.until('tidings.state === "live"')
      t.equal(door.streams.length, 1)
      const sent = [await publish(to, { n: 1 })]
      for (const each of [one, two, three]) await each.until('got().length === 1')
      await one.close()
      sent.push(await publish(to, { n: 2 }))
      for (const each of [two, three]) await each.until('got().length === 2 && tidings.state === "live"')
      door.target = undefined
      door.cut()
      await two.until('tidings.state === "waiting"')
      sent.push(await publish(to, { n: 3 }))
      door.target = ground.node.url
      for (const each of [two, three]) {
        await each.until('got().length === 3 && tidings.state === "live"')
        t.same(await each.run('return got().map(({ id }) => id)'), sent)
        t.same(await each.run('return errors'), [])
      }
      await door.until(() => door.open.length === 1 || undefined, 'one stream')
    })

    await t.test('a line that goes dead, a page hidden and shown again: live within three seconds', async (t) => {
      const { door, tab, to } = await startVisitor(t, ground)
      const one = await tab()
      await one.until('tidings.state === "live"')
      door.freeze(true)
      await publish(to, { n: 1 })
      door.freeze(false)
      // Two heartbeats of a second without a word, and three seconds.
      await one.until('got().length === 1', 5000)
      await one.run('dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }))')
      await door.until(() => door.open.length === 0 ? true : undefined, 'no stream')
      await publish(to, { n: 2 })
      await one.run('dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))')
      await one.until('got().length === 2 && tidings.state === "live"', 3000)
    })

    await t.test('once, and the inbox on two tabs', async (t) => {
      const { tab, to } = await startVisitor(t, ground)
      const tabs = [await tab(), await tab()]
      for (const each of tabs) await each.run('tidings.inbox.subscribe(() => look())')
      const id = await publish(to, { n: 1 })
      for (const each of tabs) await each.until('tidings.inbox.unseen === 1')
      await tabs[1]!.run('await tidings.inbox.see()')
      for (const each of tabs) await each.until('tidings.inbox.unseen === 0 && tidings.inbox.unread === 1')
      const acted = await Promise.all(tabs.map((each) => each.run<boolean>(`return await tidings.once("${id}", () => {})`)))
      t.equal(acted.filter(Boolean).length, 1)
    })

    await t.test('401 twice and 403: denied; 204: replaced', async (t) => {
      const { door, tab } = await startVisitor(t, ground)
      const statuses = [403, 401, 401, 204]
      door.instead = (request, response) => {
        if (!request.url!.includes('/subscribe') || statuses.length === 0) return false
        response.writeHead(statuses.shift()!)
        response.end()
        return true
      }
      const one = await tab()
      await one.until('tidings.state === "denied"')
      await one.run('tidings.useHere()')
      await one.until('states.length >= 5 && tidings.state === "denied"')
      await one.run('tidings.useHere()')
      await one.until('tidings.state === "replaced"')
      await one.run('tidings.useHere()')
      await one.until('tidings.state === "live"')
    })

    await t.test('a plain EventSource: 204 after !replaced stops it; "come back later" does not, and it resumes', async (t) => {
      const { door, tab, to } = await startVisitor(t, ground)
      const asked: (string | undefined)[] = []
      const answers = ['', 'retry: 50\n\n', 'retry: 50\nevent: ping\ndata: {}\n\n', '', 'retry: 50\nid: !replaced\nevent: replaced\ndata: {}\n\n']
      door.instead = (request, response) => {
        if (!request.url!.includes('/subscribe')) return false
        asked.push(request.headers['last-event-id'] as string | undefined)
        const answer = answers.shift()
        if (answer === undefined || answer === '') return false
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.end(answer)
        return true
      }
      const one = await tab(null)
      await one.run(`
        const source = globalThis.source = new EventSource('/api/notifications/subscribe')
        for (const name of ['message', 'sync']) source.addEventListener(name, ({ lastEventId, data }) => { log.push({ id: lastEventId, event: name, json: JSON.parse(data) }); look() })
        source.onerror = () => { states.push(source.readyState); look() }`)
      await one.until('log.length === 1')
      const sent = await publish(to, { n: 1 })
      await one.until('log.length === 2')
      door.cut()
      const missed = publish(to, { n: 2 })
      await one.until('log.length >= 4')
      t.match(await one.run('return log.slice(1).map(({ id, event }) => [id, event])'), [[sent, 'message'], [await missed, 'message'], [/^\d+$/, 'sync']])
      t.same(asked.slice(0, 4), [undefined, sent, sent, sent])
      t.match(await one.run('return log.at(-1).json'), { resume: 'complete' })
      door.cut()
      await one.until('states.at(-1) === 2')
      t.same(asked.slice(5), ['!replaced'])
    })
  })
}
