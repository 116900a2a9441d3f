// Environment → Config: defaults, units, and every fault at once.
import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { ConfigError, configSchema, keyAlgorithm, parseConfig } from '../src/config.ts'

const secret = 's'.repeat(32)
const pemOf = (key: { export: (options: { type: 'spki', format: 'pem' }) => string | Buffer }): string => key.export({ type: 'spki', format: 'pem' }).toString()
const rsa = pemOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)
const p256 = pemOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)
const p384 = pemOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey)
const ed25519 = pemOf(generateKeyPairSync('ed25519').publicKey)

function faultsOf (env: Record<string, string>): readonly string[] {
  try {
    parseConfig(env, 'node-1')
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
  return []
}

t.test('config, of nothing but a secret, has the documented defaults', async (t) => {
  t.match(parseConfig({ JWT_SECRET: secret }, 'node-1'), {
    HOST: '127.0.0.1',
    PORT: 3000,
    NODE_NAME: 'node-1',
    REDIS_PREFIX: 'tidings',
    JWT_SECRET: secret,
    TOKEN_COOKIE: 'tidings_token',
    CORS_ORIGINS: [],
    HEARTBEAT_SECONDS: 15,
    RETRY_MS: 3000,
    COALESCE_MS: 5,
    HISTORY_LENGTH: 1000,
    HISTORY_SECONDS: 86_400,
    MAX_DATA_BYTES: 65_536,
    STREAM_BUFFER_BYTES: 1_048_576,
    MAX_STREAMS_PER_USER: 20,
    MAX_STREAM_SECONDS: 3600,
    SESSION_POLICY: 'multiple',
    PUBLISH_PER_MINUTE: 6000,
    DRAIN_SECONDS: 10,
    TRUST_PROXY: [],
    LOG_LEVEL: 'info'
  })
})

t.test('config, once read, cannot be changed and leaves the schema as it was', async (t) => {
  const before = JSON.stringify(configSchema)
  const config = parseConfig({ JWT_SECRET: secret }, 'node-1')
  t.throws(() => { Object.assign(config, { PORT: 1 }) }, TypeError)
  t.equal(JSON.stringify(configSchema), before)
})

t.test('config, of an environment full of text, has numbers and lists', async (t) => {
  t.match(parseConfig({
    JWT_SECRET: secret,
    PORT: '0',
    NODE_NAME: 'given',
    HEARTBEAT_SECONDS: ' 2 ',
    CORS_ORIGINS: 'https://app.example,http://localhost:8080',
    TRUST_PROXY: '10.0.0.0/8,127.0.0.1',
    SESSION_POLICY: 'single',
    SOMETHING_ELSE: 'is not ours'
  }, 'node-1'), {
    PORT: 0,
    NODE_NAME: 'given',
    HEARTBEAT_SECONDS: 2,
    CORS_ORIGINS: ['https://app.example', 'http://localhost:8080'],
    TRUST_PROXY: ['10.0.0.0/8', '127.0.0.1'],
    SESSION_POLICY: 'single'
  })
})

t.test('config, of a variable set to nothing, takes the default', async (t) => {
  const config = parseConfig({ JWT_SECRET: secret, JWT_PUBLIC_KEY: '', PORT: '', REDIS_URL: '  ', NODE_NAME: '' }, 'node-1')
  t.match(config, { PORT: 3000, NODE_NAME: 'node-1' })
  t.notOk('REDIS_URL' in config)
})

t.test('config, with many faults, names every one at once', async (t) => {
  const env = { PORT: '70000', HEARTBEAT_SECONDS: 'soon', REDIS_URL: 'http://redis', SESSION_POLICY: 'several', CORS_ORIGINS: '*,https://app.example/', JWT_SECRET: 'short' }
  const faults = faultsOf(env)
  for (const name of Object.keys(env)) t.ok(faults.some((fault) => fault.startsWith(name)), name)
  t.equal(faults.filter((fault) => fault.startsWith('CORS_ORIGINS')).length, 2, 'each origin that is none')
  t.throws(() => parseConfig(env, 'node-1'), { message: /^The settings are not valid:\n {2}- .*\n {2}- / })
})

t.test('config, with a number outside its limits, is refused', async (t) => {
  for (const [name, values] of Object.entries({
    PORT: ['-1', '65536', '1.5', 'x', '3000x'],
    HEARTBEAT_SECONDS: ['0', '-1'],
    HISTORY_LENGTH: ['0'],
    MAX_DATA_BYTES: ['0'],
    STREAM_BUFFER_BYTES: ['16383'],
    MAX_STREAM_SECONDS: ['0', '99999999'],
    DRAIN_SECONDS: ['-1', '3601']
  })) {
    for (const value of values) t.match(faultsOf({ JWT_SECRET: secret, [name]: value }).join(), name, `${name}=${value}`)
  }
})

t.test('config, with a pattern that does not fit, is refused', async (t) => {
  for (const [name, value] of [['REDIS_PREFIX', 'a b'], ['REDIS_PREFIX', 'x'.repeat(65)], ['NODE_NAME', 'a\nb'], ['TOKEN_COOKIE', 'a=b'], ['JWKS_URL', 'ftp://x']] as const) {
    t.match(faultsOf({ JWT_SECRET: secret, [name]: value }).join(), name, `${name}=${JSON.stringify(value)}`)
  }
})

t.test('config, with no key or more than one, is refused', async (t) => {
  t.match(faultsOf({}), [/exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWKS_URL must be set, not none/])
  t.match(faultsOf({ JWT_SECRET: secret, JWT_PUBLIC_KEY: rsa }), [/exactly one .* not 2/])
  t.match(faultsOf({ JWT_SECRET: secret, JWT_PUBLIC_KEY: rsa, JWKS_URL: 'https://issuer.example/keys' }), [/exactly one .* not 3/])
})

t.test('config, with a secret of 31 bytes, is refused, and one of 32 bytes in 16 characters is not', async (t) => {
  t.match(faultsOf({ JWT_SECRET: 's'.repeat(31) }), [/JWT_SECRET must have at least 32 bytes/])
  t.same(faultsOf({ JWT_SECRET: 'ü'.repeat(16) }), [])
})

t.test('config, with a public key, pins the one algorithm that fits it', async (t) => {
  t.equal(keyAlgorithm(rsa), 'RS256')
  t.equal(keyAlgorithm(p256), 'ES256')
  t.equal(keyAlgorithm(rsa.replaceAll('\n', '\\n')), 'RS256', 'in an environment file, on one line')
  for (const pem of [rsa, p256, rsa.replaceAll('\n', '\\n')]) t.same(faultsOf({ JWT_PUBLIC_KEY: pem }), [])
  for (const pem of [p384, ed25519, 'not a key', secret]) {
    t.match(faultsOf({ JWT_PUBLIC_KEY: pem }), [/JWT_PUBLIC_KEY must be the PEM of an RSA or P-256 public key/])
  }
})

t.test('config, with a buffer that one notification would overflow, is refused', async (t) => {
  t.match(faultsOf({ JWT_SECRET: secret, STREAM_BUFFER_BYTES: '65536' }), [/STREAM_BUFFER_BYTES must exceed MAX_DATA_BYTES/])
  t.same(faultsOf({ JWT_SECRET: secret, STREAM_BUFFER_BYTES: '69632' }), [])
})
