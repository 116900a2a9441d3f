// Environment → Config: defaults, units, and every fault at once.
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { ConfigError, configSchema, keyAlgorithm, parseConfig } from '../src/config.ts'

const secret = 's'.repeat(32)
const pemOf = (key: { export: (options: { type: 'spki', format: 'pem' }) => string | Buffer }): string => key.export({ type: 'spki', format: 'pem' }).toString()
const rsa = pemOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)
const rsa1024 = pemOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)
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
    REDIS_PARTITIONS: 1,
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
    RECEIPTS: 'sampled',
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
  const env = { PORT: '70000', HEARTBEAT_SECONDS: 'soon', REDIS_URL: 'http://redis', SESSION_POLICY: 'several', RECEIPTS: 'some', CORS_ORIGINS: '*,https://app.example/', JWT_SECRET: 'short' }
  const faults = faultsOf(env)
  for (const name of Object.keys(env)) t.ok(faults.some((fault) => fault.startsWith(name)), name)
  t.equal(faults.filter((fault) => fault.startsWith('CORS_ORIGINS')).length, 2, 'each origin that is none')
  t.equal(faults.length, 8, 'and each once')
  t.throws(() => parseConfig(env, 'node-1'), { message: /^The settings are not valid:\n {2}- .*\n {2}- / })
})

t.test('config, with a number outside its limits, is refused', async (t) => {
  for (const [name, values] of Object.entries({
    PORT: ['-1', '65536', '1.5', 'x', '3000x', '3e3', '0x10', '1_000', '+1', '1 0', 'true', '٣'],
    HEARTBEAT_SECONDS: ['0', '-1'],
    HISTORY_LENGTH: ['0'],
    GROUP_HISTORY_LENGTH: ['0', '-5'],
    MAX_DATA_BYTES: ['0'],
    STREAM_BUFFER_BYTES: ['16383'],
    MAX_STREAM_SECONDS: ['0', '99999999'],
    DRAIN_SECONDS: ['-1', '3601']
  })) {
    for (const value of values) t.match(faultsOf({ JWT_SECRET: secret, [name]: value }).join(), name, `${name}=${value}`)
  }
})

t.test('config, with a pattern that does not fit, is refused', async (t) => {
  for (const [value, isRefused] of [['{x}', true], ['{}', true], ['a{b}c', true], ['a{b', false], ['a}b{', false]] as const) {
    const faultIn = (kind: string): string => faultsOf({ JWT_SECRET: secret, REDIS_PREFIX: value, REDIS_URL: `${kind}://127.0.0.1:6379` }).join()
    t.equal(/^REDIS_PREFIX must not have "\{" and "\}" in a Cluster/.test(faultIn('redis+cluster')), isRefused, value)
    t.equal(faultIn('redis'), '', `${value} on one Redis`)
  }
  for (const [name, value] of [['REDIS_PREFIX', 'a b'], ['REDIS_PREFIX', 'x'.repeat(65)], ['REDIS_PREFIX', 'tidings:user'], ['REDIS_PREFIX', ':'], ['NODE_NAME', 'a\nb'], ['TOKEN_COOKIE', 'a=b'], ['JWKS_URL', 'ftp://x']] as const) {
    t.match(faultsOf({ JWT_SECRET: secret, [name]: value }).join(), name, `${name}=${JSON.stringify(value)}`)
  }
  t.match(faultsOf({ JWT_SECRET: secret, SESSION_POLICY: 'several' }), ['SESSION_POLICY must be one of multiple, single, not "several"'])
  for (const value of ['0', '3', '12', '257', '512']) t.match(faultsOf({ JWT_SECRET: secret, REDIS_PARTITIONS: value }), [/^REDIS_PARTITIONS must be/], value)
  for (const value of ['1', '2', '256']) t.same(faultsOf({ JWT_SECRET: secret, REDIS_PARTITIONS: value }), [], value)
  t.match(faultsOf({ JWT_SECRET: secret, PORT: '3e3' }), ['PORT must be a whole number from 0 to 65535, in digits, not "3e3"'])
  t.match(faultsOf({ JWT_SECRET: secret, REDIS_PREFIX: 'tidings:user' }), [/^REDIS_PREFIX must be .* without ":", which stands between the parts of a key/])
})

t.test('config, with no key or more than one, is refused', async (t) => {
  t.match(faultsOf({}), [/exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWKS_URL must be set, not none/])
  t.match(faultsOf({ JWT_SECRET: secret, JWT_PUBLIC_KEY: rsa }), [/exactly one .* not 2/])
  t.match(faultsOf({ JWT_SECRET: secret, JWT_PUBLIC_KEY: rsa, JWKS_URL: 'https://issuer.example/keys' }), [/exactly one .* not 3/])
})

t.test('config, with a secret of 31 bytes, is refused, and one of 32 bytes in 16 characters is not', async (t) => {
  t.match(faultsOf({ JWT_SECRET: 's'.repeat(31) }), [/JWT_SECRET must have at least 32 bytes/])
  t.match(faultsOf({ JWT_SECRET: '\uFFFD'.repeat(32) }), [/JWT_SECRET is not text in UTF-8/])
  t.same(faultsOf({ JWT_SECRET: 'ü'.repeat(16) }), [])
})

t.test('config, with a key in PEM as the secret, is refused and says where it belongs', async (t) => {
  for (const pem of [rsa, p256, rsa.replaceAll('\n', '\\n'), rsa.replaceAll('\n', ' '), `"${rsa}"`]) {
    t.match(faultsOf({ JWT_SECRET: pem }), ['JWT_SECRET must be a secret, not a key in PEM; a public key belongs in JWT_PUBLIC_KEY'])
  }
})

t.test('config, with a public key, pins the one algorithm that fits it', async (t) => {
  t.equal(keyAlgorithm(rsa), 'RS256')
  t.equal(keyAlgorithm(p256), 'ES256')
  t.equal(keyAlgorithm(rsa.replaceAll('\n', '\\n')), 'RS256', 'in an environment file, on one line')
  for (const pem of [rsa, p256, rsa.replaceAll('\n', '\\n')]) t.same(faultsOf({ JWT_PUBLIC_KEY: pem }), [])
  t.match(faultsOf({ JWT_PUBLIC_KEY: rsa + p256 }), [/JWT_PUBLIC_KEY must be the PEM .* of one alone; to rotate keys, use JWKS_URL/])
  for (const pem of [rsa1024, p384, ed25519, 'not a key', secret]) {
    t.match(faultsOf({ JWT_PUBLIC_KEY: pem }), [/JWT_PUBLIC_KEY must be the PEM of an RSA \(2048 bits or more\) or P-256 public key/])
  }
})

t.test('config, with a buffer that one notification would overflow, is refused', async (t) => {
  t.match(faultsOf({ JWT_SECRET: secret, STREAM_BUFFER_BYTES: '65536' }), [/STREAM_BUFFER_BYTES must exceed MAX_DATA_BYTES/])
  t.same(faultsOf({ JWT_SECRET: secret, STREAM_BUFFER_BYTES: '69632' }), [])
})

t.test('config, without GROUP_HISTORY_LENGTH, takes HISTORY_LENGTH', async (t) => {
  t.equal(parseConfig({ JWT_SECRET: secret }, 'n').GROUP_HISTORY_LENGTH, 1000)
  t.equal(parseConfig({ JWT_SECRET: secret, HISTORY_LENGTH: '7' }, 'n').GROUP_HISTORY_LENGTH, 7)
  t.match(parseConfig({ JWT_SECRET: secret, HISTORY_LENGTH: '7', GROUP_HISTORY_LENGTH: '9' }, 'n'), { HISTORY_LENGTH: 7, GROUP_HISTORY_LENGTH: 9 })
})

t.test('config, of a list with white space, empty entries and a comma at the end, has the entries alone', async (t) => {
  const config = parseConfig({ JWT_SECRET: secret, CORS_ORIGINS: ' https://a.example , https://b.example,, ', TRUST_PROXY: 'loopback, 10.0.0.0/8,' }, 'n')
  t.same(config.CORS_ORIGINS, ['https://a.example', 'https://b.example'])
  t.same(config.TRUST_PROXY, ['loopback', '10.0.0.0/8'])
})

t.test('config, with TRUST_PROXY that the proxy library would not take, or trust everybody with, is refused', async (t) => {
  for (const value of ['0.0.0.0/0', '::/0', '::/8', '::ffff:0:0/96', '::ffff:1.2.3.4/90', '10.0.0.0/33', '10.0.0.0/8/8', '10.0.0.0/', 'proxy', '10.0.0', '*']) {
    t.match(faultsOf({ JWT_SECRET: secret, TRUST_PROXY: value }), [/TRUST_PROXY: .* is not an address/], value)
  }
  for (const value of ['10.0.0.0/8', '::1', 'fd00::/8', 'uniquelocal', '192.0.2.7/32', '::ffff:10.0.0.0/104', '2000::/3']) t.same(faultsOf({ JWT_SECRET: secret, TRUST_PROXY: value }), [], value)
})

t.test('config, with PROXY_PROTOCOL and nobody who may send it, or half of a certificate, is refused', async (t) => {
  t.match(faultsOf({ JWT_SECRET: secret, PROXY_PROTOCOL: 'on' }), ['PROXY_PROTOCOL is on, so TRUST_PROXY must name the balancers that send the header'])
  t.match(faultsOf({ JWT_SECRET: secret, PROXY_PROTOCOL: 'v2', TRUST_PROXY: 'loopback' }), ['PROXY_PROTOCOL must be one of on, off, not "v2"'])
  t.same(faultsOf({ JWT_SECRET: secret, PROXY_PROTOCOL: 'on', TRUST_PROXY: 'loopback' }), [])
  for (const name of ['TLS_CERT_FILE', 'TLS_KEY_FILE']) t.match(faultsOf({ JWT_SECRET: secret, [name]: 'x' }), ['TLS_CERT_FILE and TLS_KEY_FILE must both be set, or none of them'])
})

t.test('config, with CORS_ORIGINS that is no origin of a page, is refused', async (t) => {
  for (const value of ['null', 'ftp://a.example', 'https://a.example/', 'HTTPS://A.example', 'https://a.example:443', 'a.example', '*.example', 'https://*.example', 'https://a.*', '*', 'https://b\u00fccher.example', 'capacitor://*', 'capacitor://', 'app://a/b', 'file://', 'wss://a.example']) {
    t.match(faultsOf({ JWT_SECRET: secret, CORS_ORIGINS: value }), [/CORS_ORIGINS: .* is not an origin/], value)
  }
  for (const value of ['https://B\u00fccher.example:443/', 'HTTPS://xn--bcher-kva.example']) {
    t.match(faultsOf({ JWT_SECRET: secret, CORS_ORIGINS: value }), [/; write it as https:\/\/xn--bcher-kva\.example, without a path, and never \*/], value)
  }
})

t.test('config, with CORS_ORIGINS of an app or an extension, takes it as its pages send it', async (t) => {
  const origins = ['capacitor://localhost', 'ionic://localhost', 'tauri://localhost', 'app://x', 'chrome-extension://abcdefghijklmnopabcdefghijklmnop', 'moz-extension://0b1f-4c']
  t.same(parseConfig({ JWT_SECRET: secret, CORS_ORIGINS: origins.join() }, 'n').CORS_ORIGINS, origins)
})

t.test('config, with a JWKS_URL that could never be fetched, is refused', async (t) => {
  for (const [value, why] of [
    ['https://user:password@issuer.example/keys', /no user and no password/],
    ['https://issuer.example/keys#one', /no #/],
    ['issuer.example/keys', /must be a URL with a host/],
    ['https://', /must be a URL with a host/],
    ['file:///etc/keys', /must be a URL with a host/]
  ] as const) {
    const faults = faultsOf({ JWKS_URL: value })
    t.match(faults, [why], value)
    t.notMatch(faults.join(), 'password@')
  }
  t.same(faultsOf({ JWKS_URL: 'https://issuer.example/keys?tenant=1' }), [])
})

t.test('config, where NODE_ENV is production, must be told where Redis is, or that there is none', async (t) => {
  t.match(faultsOf({ JWT_SECRET: secret, NODE_ENV: 'production' }), [/^REDIS_URL must be set where NODE_ENV is production.* memory: /])
  t.same(faultsOf({ JWT_SECRET: secret, NODE_ENV: 'production', REDIS_URL: 'memory:' }), [])
  t.same(faultsOf({ JWT_SECRET: secret, NODE_ENV: 'production', REDIS_URL: 'redis://redis:6379' }), [])
  t.same(faultsOf({ JWT_SECRET: secret, NODE_ENV: 'development' }), [])
})

t.test('config, with a secret in a file, reads it from there; with a file that is not as it should be, says so', async (t) => {
  const folder = t.testdir({ secret: `${secret}\n`, redis: ' redis://:a%25b@redis:6379/2\n', key: rsa, empty: '\n' })
  const file = (name: string): string => `${folder}/${name}`
  t.match(parseConfig({ JWT_SECRET_FILE: file('secret'), REDIS_URL_FILE: file('redis'), NODE_ENV: 'production' }, 'n'), { JWT_SECRET: secret, REDIS_URL: 'redis://:a%25b@redis:6379/2' })
  t.equal(parseConfig({ JWT_PUBLIC_KEY_FILE: file('key') }, 'n').JWT_PUBLIC_KEY, rsa.trim())
  t.match(faultsOf({ JWT_SECRET_FILE: file('none') }), [/^JWT_SECRET_FILE: ".*none" cannot be read \(ENOENT\)$/])
  t.match(faultsOf({ JWT_SECRET_FILE: folder }), [/^JWT_SECRET_FILE: ".*" cannot be read \(EISDIR\)$/])
  t.match(faultsOf({ JWT_SECRET_FILE: file('empty') }), [/^JWT_SECRET_FILE: ".*empty" is empty$/])
  writeFileSync(file('bytes'), Buffer.alloc(32, 0xe9))
  t.match(faultsOf({ JWT_SECRET_FILE: file('bytes') }), [/^JWT_SECRET_FILE: ".*bytes" is not text in UTF-8; write the value as text/], 'and no other fault')
  t.match(faultsOf({ JWT_SECRET: secret, JWT_SECRET_FILE: file('secret') }), [/^JWT_SECRET and JWT_SECRET_FILE are both set; keep one of them$/])
  t.match(faultsOf({ JWT_SECRET: secret, REDIS_URL_FILE: file('none'), NODE_ENV: 'production' }), [/^REDIS_URL_FILE: .* cannot be read/])
})
