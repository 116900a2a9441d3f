// A page on another origin than the service, let in by tickets: npx node examples/web/server.js starts both. PORT
// (default 8090) is the page's, the next one the service's.
import { spawn } from 'node:child_process'
import { createHmac, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const port = Number(process.env.PORT || 8090)
const page = `http://127.0.0.1:${port}`
const tidings = `http://127.0.0.1:${port + 1}`
const secret = randomBytes(32).toString('hex')

const root = fileURLToPath(new URL('../..', import.meta.url))
const service = spawn(process.execPath, ['src/server.ts'], {
  cwd: root,
  stdio: 'inherit',
  env: { PATH: process.env.PATH, PORT: String(port + 1), JWT_SECRET: secret, CORS_ORIGINS: page, REDIS_URL: 'memory:', LOG_LEVEL: 'warn' }
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { service.kill(); process.exit() })
service.on('exit', (code) => process.exit(code ?? 1))

const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url')

/** What a back end keeps to itself: the secret, and tokens made with it. */
function token (claims) {
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ iat: Math.floor(Date.now() / 1000), exp: Math.floor(Date.now() / 1000) + 600, ...claims })}`
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}

const ask = (path, claims, body) => fetch(`${tidings}${path}`, {
  method: 'POST',
  headers: { authorization: `Bearer ${token(claims)}`, 'content-type': 'application/json' },
  body: JSON.stringify(body)
})

// Not before the service answers: the page takes its module from there.
while (!await fetch(`${tidings}/readyz`).then(({ ok }) => ok, () => false)) await delay(100)

const html = readFileSync(new URL('index.html', import.meta.url), 'utf8').replaceAll('{{tidings}}', tidings)

http.createServer(async (request, response) => {
  try {
    if (request.method === 'GET' && request.url === '/') {
      response.writeHead(200, {
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy': `default-src 'none'; script-src ${tidings} ${page}; connect-src 'self' ${tidings}`
      }).end(html)
    } else if (request.method === 'GET' && request.url === '/page.js') {
      response.writeHead(200, { 'content-type': 'text/javascript' }).end(readFileSync(new URL('page.js', import.meta.url), 'utf8').replaceAll('{{tidings}}', tidings))
    } else if (request.method === 'POST' && request.url === '/ticket') {
      // Here a real back end looks at its own session, to know who is asking.
      const answer = await ask('/api/notifications/tickets', { sub: 'ada' })
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
    } else if (request.method === 'POST' && request.url === '/say') {
      const answer = await ask('/api/notifications', { sub: 'back-end', scope: 'notifications:publish' }, { to: 'user:ada', data: { title: `Hello at ${new Date().toLocaleTimeString()}` } })
      response.writeHead(answer.status).end()
    } else response.writeHead(404).end()
  } catch {
    response.writeHead(502).end('The service does not answer yet.\n')
  }
}).listen(port, '127.0.0.1', () => { console.log(`Open ${page} in two tabs`) })
