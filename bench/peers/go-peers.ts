// Peers in Go, measured where their program is on PATH: Centrifugo and Mercure.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from '../../test/fixtures/parts.ts'
import { answers, freePort, makeFolder } from '../../test/fixtures/process.ts'
import { secret, token } from '../harness/parts.ts'
import { start } from '../harness/start.ts'
import { httpPost, Line } from '../harness/wire.ts'
import type { Row } from '../rows/row.ts'

/** Options have been nested since version 6. */
function centrifugoConf (program: string, port: number): object {
  const version = /v?(\d+)\.\d+/.exec(spawnSync(program, ['version'], { encoding: 'utf8' }).stdout)?.[1] ?? '6'
  if (Number(version) < 6) {
    return { address: '127.0.0.1', port, token_hmac_secret_key: secret, api_insecure: true, health: true, uni_sse: true, history_size: 1000, history_ttl: '24h' }
  }
  return {
    http_server: { address: '127.0.0.1', port },
    client: { token: { hmac_secret_key: secret } },
    http_api: { insecure: true },
    health: { enabled: true },
    uni_sse: { enabled: true },
    channel: { without_namespace: { history_size: 1000, history_ttl: '24h' } }
  }
}

const centrifugo: Row = {
  name: 'centrifugo',
  title: 'Centrifugo (uni_sse)',
  kind: 'peer',
  absent: () => findProgram(['centrifugo']) === undefined ? 'no centrifugo on PATH' : undefined,
  start: async (scope) => {
    const program = findProgram(['centrifugo'])!
    const folder = makeFolder(scope)
    const port = await freePort()
    writeFileSync(join(folder, 'config.json'), JSON.stringify(centrifugoConf(program, port)))
    const child = start(scope, program, ['--config', join(folder, 'config.json')], { name: 'centrifugo', cwd: folder, logFile: join(folder, 'log') })
    await answers(`http://127.0.0.1:${port}/health`, child, { name: 'centrifugo' })
    const line = await Line.open(scope, port, 'http')
    return {
      request: (i) => {
        const connect = { token: token({ sub: `user-${i}`, channels: ['bench'] }) }
        return { port, path: `/connection/uni_sse?cf_connect=${encodeURIComponent(JSON.stringify(connect))}`, headers: ['Accept: text/event-stream'] }
      },
      liveOn: 'head',
      publish: (json) => { line.send(httpPost('/api/publish', ['Content-Type: application/json'], `{"channel":"bench","data":${json}}`)) },
      check: () => { line.check() },
      servers: () => [child.pid],
      others: {}
    }
  }
}

/** `bolt` keeps a history in a file and is the default; `local` keeps none. */
const mercure = (transport: 'bolt' | 'local'): Row => ({
  name: transport === 'bolt' ? 'mercure' : 'mercure-local',
  title: transport === 'bolt' ? 'Mercure' : 'Mercure, no history',
  kind: 'peer',
  absent: () => findProgram(['mercure']) === undefined ? 'no mercure on PATH' : undefined,
  start: async (scope) => {
    const folder = makeFolder(scope)
    const port = await freePort()
    writeFileSync(join(folder, 'Caddyfile'), `{
  auto_https off
  admin off
}
http://127.0.0.1:${port} {
  mercure {
    publisher_jwt ${secret}
    subscriber_jwt ${secret}
    anonymous
    transport ${transport}
    heartbeat 15s
    write_timeout 0s
  }
  respond "ok" 200
}
`)
    const child = start(scope, findProgram(['mercure'])!, ['run', '--config', 'Caddyfile'], { name: 'mercure', cwd: folder, logFile: join(folder, 'log') })
    await answers(`http://127.0.0.1:${port}/`, child, { name: 'mercure' })
    const line = await Line.open(scope, port, 'http')
    const headers = ['Content-Type: application/x-www-form-urlencoded', `Authorization: Bearer ${token({ sub: 'bench', mercure: { publish: ['*'] } })}`]
    return {
      request: () => ({ port, path: '/.well-known/mercure?topic=bench', headers: ['Accept: text/event-stream'] }),
      liveOn: 'head',
      publish: (json) => { line.send(httpPost('/.well-known/mercure', headers, `topic=bench&data=${encodeURIComponent(json)}`)) },
      check: () => { line.check() },
      servers: () => [child.pid],
      others: {}
    }
  }
})

export const goPeers: readonly Row[] = [centrifugo, mercure('bolt'), mercure('local')]
