// A peer in C: Nchan, a module of nginx. Messages kept in shared memory, as its README recommends for one machine.
import { existsSync, writeFileSync } from 'node:fs'
import { findProgram } from '../../test/fixtures/parts.ts'
import { freePort, makeFolder } from '../../test/fixtures/process.ts'
import { nginxAbsent } from '../harness/parts.ts'
import { tree } from '../harness/proc.ts'
import { start } from '../harness/start.ts'
import { httpPost, Line } from '../harness/wire.ts'
import type { Row } from '../rows/row.ts'

const modules = ['/usr/lib/nginx/modules', '/usr/lib64/nginx/modules', '/usr/share/nginx/modules'].map((folder) => `${folder}/ngx_nchan_module.so`)

// One worker, as a Node server is one process: with more of them each message also travels between workers, which costs
// more CPU.
const conf = (folder: string, module: string, port: number): string => `
load_module ${module};
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr notice;
events { worker_connections 19000; }
http {
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi; uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  access_log ${folder}/access.log;
  keepalive_requests 100000000;
  nchan_shared_memory_size 512M;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /events {
      nchan_subscriber eventsource;
      nchan_channel_id bench;
      nchan_subscriber_first_message newest;
      nchan_eventsource_ping_interval 15;
    }
    location = /publish {
      nchan_publisher http;
      nchan_channel_id bench;
      nchan_message_buffer_length 1000;
      nchan_message_timeout 24h;
    }
  }
}
`

export const nchan: Row = {
  name: 'nchan',
  title: 'Nchan (nginx)',
  kind: 'peer',
  absent: () => nginxAbsent() ?? (modules.some((path) => existsSync(path)) ? undefined : 'no Nchan; apt-get install libnginx-mod-nchan'),
  start: async (scope) => {
    const folder = makeFolder(scope)
    const port = await freePort()
    const file = `${folder}/nginx.conf`
    writeFileSync(file, conf(folder, modules.find((path) => existsSync(path))!, port))
    const nginx = start(scope, findProgram(['nginx'])!, ['-p', folder, '-c', file, '-g', 'daemon off;'], { name: 'nginx' })
    await nginx.waitForLine(/start worker process \d+/)
    const line = await Line.open(scope, port, 'http')
    return {
      request: () => ({ port, path: '/events', headers: ['Accept: text/event-stream'] }),
      liveOn: 'head',
      publish: (json) => { line.send(httpPost('/publish', ['Content-Type: application/json'], json)) },
      check: () => { line.check() },
      servers: () => tree(nginx.pid),
      others: {}
    }
  }
}
