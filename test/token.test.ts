// npm run token: what it prints is a token that a node with the same secret trusts; what it refuses it explains.
import { createHmac } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { spawnChild } from './fixtures/process.ts'

const script = fileURLToPath(new URL('../scripts/token.ts', import.meta.url))
const secret = 'a secret of thirty-two bytes or more'

async function run (t: Test, args: string[], env: Record<string, string> = { JWT_SECRET: secret }): Promise<{ code: number | null, output: string }> {
  const { JWT_SECRET: _, ...rest } = process.env
  const child = spawnChild(t, process.execPath, [script, ...args], { env: { ...rest, ...env } })
  const { code } = await child.exited
  return { code, output: child.lines.join('\n') }
}

/** Header and claims, once the signature is found to be right. */
function read (token: string): { header: any, claims: any } {
  const [header = '', claims = '', signature] = token.split('.')
  if (createHmac('sha256', secret).update(`${header}.${claims}`).digest('base64url') !== signature) throw new Error(`wrong signature: ${token}`)
  return { header: JSON.parse(Buffer.from(header, 'base64url').toString()), claims: JSON.parse(Buffer.from(claims, 'base64url').toString()) }
}

t.test('token, with everything asked for, carries it all', async (t) => {
  const { code, output } = await run(t, ['--sub', '42', '--groups', 'Complaints, Sales,', '--scope', 'notifications:publish notifications:manage',
    '--expires', '60', '--issuer', 'https://issuer.example', '--audience', 'tidings'])
  t.equal(code, 0)
  const { header, claims } = read(output)
  t.match(header, { alg: 'HS256', typ: 'JWT' })
  const { iat, exp, ...rest } = claims
  t.same(rest, { sub: '42', groups: ['Complaints', 'Sales'], scope: 'notifications:publish notifications:manage', iss: 'https://issuer.example', aud: 'tidings' })
  t.equal(exp - iat, 60)
  t.ok(Math.abs(iat * 1000 - Date.now()) < 60_000)
})

t.test('token, with a user alone, is good for an hour and claims nothing else', async (t) => {
  const { code, output } = await run(t, ['--sub', 'ü 42'])
  t.equal(code, 0)
  const { iat, exp, ...rest } = read(output).claims
  t.same(rest, { sub: 'ü 42' })
  t.equal(exp - iat, 3600)
})

t.test('token, asked for wrongly, is not made and the right way is shown', async (t) => {
  for (const [args, env, words] of [
    [['--groups', 'Sales'], { JWT_SECRET: secret }, /--sub is missing/],
    [['--sub', ''], { JWT_SECRET: secret }, /--sub/],
    [['--sub', 'x'.repeat(129)], { JWT_SECRET: secret }, /--sub/],
    [['--sub', '42'], {}, /JWT_SECRET must be set, with at least 32 bytes/],
    [['--sub', '42'], { JWT_SECRET: 'short' }, /at least 32 bytes/],
    [['--sub', '42'], { JWT_SECRET: `-----BEGIN PUBLIC KEY-----\\n${'A'.repeat(64)}` }, /^JWT_SECRET must be a secret, not a key in PEM/],
    [['--sub', '42', '--expires', '0'], { JWT_SECRET: secret }, /--expires must be a whole number of seconds/],
    [['--sub', '42', '--expires', '5000000000'], { JWT_SECRET: secret }, /from 1 to 3162240000, a hundred years\./],
    [['--sub', '42', '--expires', '-5'], { JWT_SECRET: secret }, /--expires must be a whole number/],
    [['--sub', '42', '--expires', '1h'], { JWT_SECRET: secret }, /--expires/],
    [['--sub', '42', '--colour', 'red'], { JWT_SECRET: secret }, /colour/],
    [['42'], { JWT_SECRET: secret }, /42/],
    [['--sub', '42'], { JWT_SECRET_FILE: '/no/such/file' }, /JWT_SECRET_FILE: "\/no\/such\/file" cannot be read \(ENOENT\)/],
    [['--sub', '42'], { JWT_SECRET: secret, JWT_SECRET_FILE: '/no/such/file' }, /JWT_SECRET and JWT_SECRET_FILE are both set/]
  ] as [string[], Record<string, string>, RegExp][]) {
    const { code, output } = await run(t, args, env)
    t.equal(code, 1, args.join(' ').slice(0, 40))
    t.match(output, words)
    t.match(output, /Usage: JWT_SECRET=… npm run token/)
    t.notMatch(output, /eyJ|\n +at /, 'no token, and no stack')
  }
})

t.test('token, asked for help, explains itself', async (t) => {
  const { code, output } = await run(t, ['--help'])
  t.equal(code, 0, 'and that is no fault')
  t.match(output, /^Usage/)
})
