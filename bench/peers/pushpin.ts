// A peer: Pushpin, a proxy that holds streams for an application behind it (GRIP). Its reliable mode ("prev-id" at the
// hold and at each publish) is not used: it only tells Pushpin to ask the application for what was missed (Grip-Link),
// so it wants one that keeps a history. What is measured here is its best effort.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findProgram } from '../../test/fixtures/parts.ts'
import { answers, freePort, makeFolder } from '../../test/fixtures/process.ts'
import { tree } from '../harness/proc.ts'
import { pause, start, startScript } from '../harness/start.ts'
import type { Row } from '../rows/row.ts'
import { openZmqPush } from './zmq.ts'

const origin = fileURLToPath(new URL('servers/grip-origin.ts', import.meta.url))

const conf = (folder: string, { port, control, push, streams }: Record<'port' | 'control' | 'push' | 'streams', number>): string => `
[global]
include={libdir}/internal.conf
rundir=${folder}
ipc_prefix=pushpin-
port_offset=0
stats_connection_ttl=120
[runner]
services=condure,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:${port}
logdir=${folder}
log_level=2
client_buffer_size=8192
client_maxconn=${streams + 1000}
[proxy]
routesfile=${folder}/routes
debug=false
auto_cross_origin=false
accept_x_forwarded_protocol=false
set_x_forwarded_protocol=proto-only
sig_key=changeme
updates_check=off
zurl_out_specs=ipc://${folder}/zurl-in
zurl_out_stream_specs=ipc://${folder}/zurl-in-stream
zurl_in_specs=ipc://${folder}/zurl-out
[handler]
push_in_spec=tcp://127.0.0.1:${push}
push_in_http_addr=127.0.0.1
push_in_http_port=${control}
push_in_http_max_headers_size=10000
push_in_http_max_body_size=1000000
stats_spec=ipc://{rundir}/{ipc_prefix}stats
command_spec=ipc://{rundir}/{ipc_prefix}command
message_rate=100000000
message_hwm=100000000
message_wait=5000
id_cache_ttl=60
connection_subscription_max=20
subscription_linger=60
stats_subscription_ttl=60
stats_report_interval=10
stats_format=tnetstring
`

/** Pushpin's own HTTP client; Debian's setting of it refuses the addresses of this machine. */
const zurlConf = (folder: string): string => `
[General]
in_spec=ipc://${folder}/zurl-in
in_stream_spec=ipc://${folder}/zurl-in-stream
out_spec=ipc://${folder}/zurl-out
in_req_spec=ipc://${folder}/zurl-req
defpolicy=allow
allow=
deny=
max_open_requests=2000
buffer_size=200000
timeout=600
in_hwm=1000
out_hwm=1000
`

export const pushpin: Row = {
  name: 'pushpin',
  title: 'Pushpin',
  kind: 'peer',
  absent: () => findProgram(['pushpin']) === undefined || findProgram(['zurl']) === undefined ? 'no Pushpin; apt-get install pushpin' : undefined,
  start: async (scope, { streams }) => {
    const folder = makeFolder(scope)
    const application = await startScript(scope, origin)
    const [port, control, push] = [await freePort(), await freePort(), await freePort()]
    writeFileSync(join(folder, 'routes'), `* 127.0.0.1:${application.port}\n`)
    writeFileSync(join(folder, 'pushpin.conf'), conf(folder, { port, control, push, streams }))
    writeFileSync(join(folder, 'zurl.conf'), zurlConf(folder))
    const zurl = start(scope, findProgram(['zurl'])!, [`--config=${join(folder, 'zurl.conf')}`], { name: 'zurl', logFile: join(folder, 'zurl.log') })
    const child = start(scope, findProgram(['pushpin'])!, ['--merge-output', `--config=${join(folder, 'pushpin.conf')}`], {
      name: 'pushpin', logFile: join(folder, 'pushpin.log')
    })
    // Its parts lead groups of their own, which the end of the one that started them does not reach.
    scope.teardown(() => { spawnSync('pkill', ['-KILL', '-s', String(child.pid)]) })
    await answers(`http://127.0.0.1:${control}/`, child, { name: 'pushpin', withinMs: 15_000 })
    await untilHeld(`http://127.0.0.1:${port}/events`)
    const socket = await openZmqPush(scope, push)
    let id = 0
    return {
      request: () => ({ port, path: '/events', headers: ['Accept: text/event-stream'] }),
      liveOn: 'head',
      openAtOnce: 32, // above about 100 its HTTP client answers some with 502
      publish: (json) => {
        const content = `id: ${++id}\ndata: ${json}\n\n`
        socket.send(`J${JSON.stringify({ channel: 'bench', formats: { 'http-stream': { content } } })}`)
      },
      check: () => { socket.check() },
      servers: () => tree(child.pid),
      others: { origin: () => [application.child.pid, zurl.pid] }
    }
  }
}

/** Its parts find each other in their own time; the first requests may be answered 502. */
async function untilHeld (url: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const aborter = new AbortController()
    const status = await fetch(url, { signal: aborter.signal }).then((answer) => answer.status, (error: Error) => error.message)
    aborter.abort()
    if (status === 200) return
    if (attempt > 200) throw new Error(`Pushpin answers "${status}" at ${url}`)
    await pause(50)
  }
}
