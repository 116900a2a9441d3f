// Signs a token, publishes over HTTP, and publishes straight through Redis.
import { Redis } from 'ioredis'
import { SignJWT } from 'jose'

for (const name of ['TIDINGS_BASE', 'TIDINGS_TO', 'JWT_SECRET', 'REDIS_URL']) if (!process.env[name]) throw new Error(`${name} is not set`)
const { TIDINGS_BASE, TIDINGS_TO, JWT_SECRET, REDIS_URL } = process.env // TIDINGS_TO: for example user:42
const token = await new SignJWT({ scope: 'notifications:publish' })
  .setProtectedHeader({ alg: 'HS256' }).setSubject('orders').setIssuedAt().setExpirationTime('5m')
  .sign(new TextEncoder().encode(JWT_SECRET))

const answer = await fetch(`${TIDINGS_BASE}/api/notifications`, {
  method: 'POST',
  signal: AbortSignal.timeout(10_000),
  headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'idempotency-key': `javascript-${crypto.randomUUID()}` },
  body: JSON.stringify({ to: TIDINGS_TO, data: { from: 'javascript http' } })
})
if (answer.status !== 202) throw new Error(await answer.text())
const { notifications: [{ id }] } = await answer.json()

const redis = new Redis(REDIS_URL, {
  commandTimeout: 10_000, // the library would wait for ever
  disableClientInfo: true, // or the program ends these 10 s late with a Redis before 7.2, which refuses it
  enableReadyCheck: false // which asks INFO: a user for a service need not have the right to
})
// The library only reports a database that is not there, and goes on in database 0.
if (redis.options.db !== 0) await redis.select(redis.options.db)
const once = ['IDEMPOTENCY', crypto.randomUUID()] // the library may repeat a call
const [published] = await redis.fcall('tidings_publish', 1, 'tidings', TIDINGS_TO, 'message', JSON.stringify({ from: 'javascript redis' }), ...once)
redis.disconnect()
console.log(id, published)
