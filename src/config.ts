// Reads the settings from the environment. The schema below is their type and their defaults, and docs/reference.md is
// tested against it.
import { createPublicKey } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import { envSchema, type EnvSchemaOpt } from 'env-schema'
import Type, { type Static } from 'typebox'
import type { HistoryLimits } from './broker/broker.ts'
import { certificateFault } from './certificate.ts'
import { type Env, IN_FILES, LISTEN_DEFAULTS, readSetting, readSettingOrFile, secretFault } from './environment.ts'
import { isOrigin, originLike } from './origins.ts'
import { MEMORY_URL, redisUrlFault } from './redis-url.ts'

const text = (description: string, options: object = {}) => Type.Optional(Type.String({ description, ...options }))
const whole = (fallback: number, minimum: number, maximum: number, description: string) =>
  Type.Integer({ default: fallback, minimum, maximum, description })
const onOff = (description: string) => Type.Unsafe<'on' | 'off'>({ type: 'string', enum: ['on', 'off'], default: 'off', description })
const list = (description: string) => Type.Unsafe<string[]>({ type: 'string', separator: ',', default: '', description })

/** Keeps milliseconds within the range of `setTimeout`. */
const MAX_SECONDS = 2_000_000

export const configSchema = Type.Object({
  HOST: Type.String({ default: LISTEN_DEFAULTS.HOST, description: 'the address to listen on; the image sets `0.0.0.0`' }),
  PORT: whole(LISTEN_DEFAULTS.PORT, 0, 65_535, 'the port to listen on; `0` takes a free one'),
  REUSE_PORT: onOff('`on`: other nodes of this host may listen on PORT too, and the kernel spreads connections over them (Linux)'),
  OPS_PORT: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535, description: 'a separate port for `/livez`, `/readyz` and `/metrics`, in plain HTTP; PORT then no longer serves them. Unset: PORT serves them' })),
  TLS_CERT_FILE: text('a file with the certificate (PEM, with its chain) for TLS on PORT; needs TLS_KEY_FILE. The node reads it again when it changes'),
  TLS_KEY_FILE: text('a file with the private key of TLS_CERT_FILE (PEM, without a passphrase)'),
  NODE_NAME: text('the name of the node in logs, metrics and the `Tidings-Node` response header; each node needs its own, or logs and metrics take two for one. Unset: host name and process id; the header then has a hash of them', { pattern: '^[!-~]{1,128}$' }),
  REDIS_URL: text('`redis://`, `redis+sentinel://` or `redis+cluster://` (`rediss…` for TLS), with user and password ([redis.md](redis.md)). `memory:` or unset: the embedded broker, for one node. In the image (`NODE_ENV=production`) it must be set'),
  REDIS_URL_FILE: text('a file that holds REDIS_URL'),
  REDIS_PREFIX: Type.String({ default: 'tidings', pattern: '^[!-9;-~]{1,64}$', description: 'the first part of every key and channel; it must not contain `:`, nor `{…}` in a Cluster' }),
  REDIS_PARTITIONS: whole(1, 1, 256, 'the number of partitions among which users are divided: 1, 2, 4, 8 … 256. It is the same on all nodes; only `npm run partitions` can raise it'),
  JWT_SECRET: text('the HS256 secret, at least 32 bytes. Its characters are the key as they stand: base64 or hex is not decoded'),
  JWT_SECRET_FILE: text('a file that holds JWT_SECRET'),
  JWT_PUBLIC_KEY: text('the PEM of a public key, RS256 (2048 bits or more) or ES256 (P-256)'),
  JWT_PUBLIC_KEY_FILE: text('a file that holds JWT_PUBLIC_KEY'),
  JWKS_URL: text('the URL of a key set, RS256 (2048 bits or more) or ES256'),
  JWT_ISSUER: text('the `iss` that a token must have. Unset: not checked'),
  JWT_AUDIENCE: text('the `aud` that a token must have. Unset: not checked'),
  TOKEN_COOKIE: Type.String({ default: 'tidings_token', pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", description: 'the name of the cookie that may carry the token' }),
  CORS_ORIGINS: list('the origins whose pages may connect, with credentials: `https://…`, `http://…`, or an app\'s own (`capacitor://localhost`); comma-separated, as browsers send them (`xn--…` for international names). Empty: the same origin only'),
  HEARTBEAT_SECONDS: whole(15, 1, 3600, 'the time between two `ping` events'),
  RETRY_MS: whole(3000, 1, 3_600_000, 'the reconnect hint; jittered where many clients would reconnect at once'),
  EXPIRING_SECONDS: whole(60, 1, 86_400, 'how long before the end of its token a stream sends `expiring`, jittered 50 to 100 %. Keep it well below the lifetime of a token, or a page that reconnects at once with each new token opens a stream every second'),
  COALESCE_MS: whole(5, 0, 1000, 'under load, the node collects messages for this long and then writes to each stream once; an idle node sends a message at once'),
  HISTORY_LENGTH: whole(1000, 1, 1_000_000, 'the number of notifications that the log of each address keeps at least'),
  GROUP_HISTORY_LENGTH: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'the same for the log of a group. Unset: HISTORY_LENGTH' })),
  HISTORY_SECONDS: whole(86_400, 1, 31_536_000, 'how long a log is kept after its last notification'),
  MAX_DATA_BYTES: whole(65_536, 1, 16_777_216, 'the largest `data` of one notification, serialised'),
  STREAM_BUFFER_BYTES: whole(1_048_576, 16_384, 1_073_741_824, 'the unsent bytes at which a slow stream is cut'),
  MAX_STREAMS_PER_USER: whole(20, 1, 1_000_000, 'the streams of a user on one node. A page that opens one more is refused (403). A reconnect replaces the oldest stream; if that stream is alive, its client waits for a place, up to a minute between two tries. Meanwhile it receives only `ping`, and afterwards everything that it missed'),
  MAX_STREAMS: whole(0, 0, 10_000_000, 'the streams of all users on one node; the next client is told to come back later. 0 = no limit'),
  MAX_STREAM_SECONDS: whole(3600, 1, MAX_SECONDS, 'the age at which a stream ends, jittered 80 to 100 %'),
  SESSION_POLICY: Type.Unsafe<'multiple' | 'single'>({ type: 'string', enum: ['multiple', 'single'], default: 'multiple', description: '`multiple`, or `single`: at most one stream for each user' }),
  PUBLISH_PER_MINUTE: whole(6000, 0, 1_000_000_000, 'publishes for each `sub` of a publishing token, over all nodes. A publish counts once for every 100 addresses or part of 100. 0 = no limit'),
  INBOX_PER_MINUTE: whole(600, 0, 1_000_000_000, 'requests to the inbox for each user, over all nodes. 0 = no limit'),
  CONNECTS_PER_MINUTE: whole(120, 0, 1_000_000_000, 'connects for each user, over all nodes; beyond it a stream is told to come back later. 0 = no limit'),
  CONNECTS_PER_MINUTE_PER_ADDRESS: whole(0, 0, 1_000_000_000, 'the same for each client address. Set TRUST_PROXY too, or all clients of a proxy count as one'),
  RECEIPTS: Type.Unsafe<'off' | 'sampled' | 'all'>({ type: 'string', enum: ['off', 'sampled', 'all'], default: 'sampled', description: 'what nodes record for `why`. `off`: nothing. `sampled`: each stream, and when one notification in 16 was written. `all`: each stream, and when each notification was written' }),
  DRAIN_SECONDS: whole(10, 0, 3600, 'the time over which a node ends its streams after SIGTERM'),
  TRUST_PROXY: list('the addresses or CIDR ranges of the proxies whose `X-Forwarded-*` headers are believed, or `loopback`, `linklocal`, `uniquelocal` (private addresses); comma-separated'),
  PROXY_PROTOCOL: onOff('`on`: every connection from TRUST_PROXY must begin with a PROXY protocol header (version 1 or 2), as layer-4 balancers send it'),
  REQUESTS_PER_MINUTE_PER_ADDRESS: whole(0, 0, 1_000_000_000, 'requests of each public client address on one node; streams and other requests count separately, and short bursts may be larger. For a node without nginx in front. 0 = no limit'),
  CONNECTIONS_PER_ADDRESS: whole(0, 0, 1_000_000, 'open connections of each public client address (in IPv6 of each /64) on one node; the next one is closed. For a node without nginx in front. 0 = no limit'),
  LOG_LEVEL: Type.Unsafe<'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'>({
    type: 'string', enum: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], default: 'info', description: 'the pino level; `info` has one line when a stream opens and one when it ends'
  })
})

export type Config = Readonly<Static<typeof configSchema>> & { readonly NODE_NAME: string, readonly GROUP_HISTORY_LENGTH: number }

/** The settings that a broker needs. */
export function historyLimits (config: Config): HistoryLimits {
  return {
    historyLength: config.HISTORY_LENGTH,
    groupHistoryLength: config.GROUP_HISTORY_LENGTH,
    historySeconds: config.HISTORY_SECONDS,
    maxDataBytes: config.MAX_DATA_BYTES
  }
}

/** All faults of the settings at once, a sentence each. */
export class ConfigError extends Error {
  readonly faults: readonly string[]

  constructor (faults: readonly string[]) {
    super(`The settings are not valid:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`)
    this.faults = faults
  }
}

interface Rule { type?: string, default?: unknown, minimum?: number, maximum?: number, enum?: string[], separator?: string }
const rules = Object.entries(configSchema.properties as Record<string, Rule>)

/** The patterns of the schema in words. */
const patternsInWords: Record<string, string> = {
  NODE_NAME: 'must be 1 to 128 visible ASCII characters',
  REDIS_PREFIX: 'must be 1 to 64 visible ASCII characters without ":", which stands between the parts of a key: the keys of "tidings:user" would be among those of "tidings"',
  TOKEN_COOKIE: 'must be the name of a cookie: letters, digits and any of ! # $ % & \' * + . ^ _ ` | ~ -'
}

/**
 * Reads and checks the settings. An empty variable counts as unset, because compose files set such. `nodeName`: the
 * default of NODE_NAME. Throws ConfigError.
 */
export function parseConfig (env: Env, nodeName: string): Config {
  const faults: string[] = []
  const data = readAll(env, faults)
  data.NODE_NAME ??= nodeName
  faults.push(...schemaFaults(data), ...redisFaults(data, env), ...keyFaults(data, faults.length > 0), ...listFaults(data), ...tlsFaults(data))
  const number = (name: 'STREAM_BUFFER_BYTES' | 'MAX_DATA_BYTES') => Number(data[name] ?? (configSchema.properties[name] as Rule).default)
  const partitions = Number(data.REDIS_PARTITIONS ?? 1)
  if (partitions >= 1 && partitions <= 256 && !Number.isInteger(Math.log2(partitions))) {
    faults.push(`REDIS_PARTITIONS must be 1, 2, 4, 8, 16, 32, 64, 128 or 256, not ${partitions}: partitions are doubled`)
  }
  if (number('STREAM_BUFFER_BYTES') < number('MAX_DATA_BYTES') + 4096) {
    faults.push('STREAM_BUFFER_BYTES must exceed MAX_DATA_BYTES by at least 4096, or no large notification could ever be sent')
  }
  if (faults.length > 0) throw new ConfigError(faults)
  // A copy, because env-schema writes into the schema that it is given.
  const config = envSchema({ schema: structuredClone(configSchema) as NonNullable<EnvSchemaOpt['schema']>, data, env: false }) as unknown as Config
  return Object.freeze({ ...config, GROUP_HISTORY_LENGTH: config.GROUP_HISTORY_LENGTH ?? config.HISTORY_LENGTH })
}

function readAll (env: Env, faults: string[]): Record<string, string> {
  const data: Record<string, string> = {}
  for (const [name, rule] of rules) {
    let value: string | undefined
    try {
      value = (IN_FILES as readonly string[]).includes(name) ? readSettingOrFile(env, name as (typeof IN_FILES)[number]) : readSetting(env, name)
    } catch (error) {
      faults.push((error as Error).message)
    }
    if (value !== undefined) data[name] = rule.separator === undefined ? value : entries(value).join(rule.separator)
  }
  return data
}

/** Splits a list, both for checking it and for using it. */
function entries (text = ''): string[] {
  return text.split(',').map((entry) => entry.trim()).filter((entry) => entry !== '')
}

/**
 * Checks the schema's rules here, because the library accepts 1e3 and 0x10 as numbers, and its messages do not say what
 * would be right.
 */
function schemaFaults (data: Record<string, string>): string[] {
  const faults: string[] = []
  for (const [name, { type, minimum = -Infinity, maximum = Infinity, enum: choices, ...rule }] of rules) {
    const value = data[name]
    if (value === undefined) continue
    const shown = JSON.stringify(value.slice(0, 80))
    if (type === 'integer' && (!/^-?\d{1,15}$/.test(value) || Number(value) < minimum || Number(value) > maximum)) {
      faults.push(`${name} must be a whole number from ${minimum} to ${maximum}, in digits, not ${shown}`)
    }
    if (choices !== undefined && !choices.includes(value)) faults.push(`${name} must be one of ${choices.join(', ')}, not ${shown}`)
    const { pattern } = rule as { pattern?: string }
    if (pattern !== undefined && !new RegExp(pattern).test(value)) faults.push(`${name} ${patternsInWords[name]}, not ${shown}`)
  }
  return faults
}

function redisFaults ({ REDIS_URL, REDIS_URL_FILE, REDIS_PREFIX = '' }: Record<string, string>, env: Env): string[] {
  if (REDIS_URL !== undefined) {
    const fault = redisUrlFault(REDIS_URL)
    if (fault !== undefined) return [`REDIS_URL ${fault}`]
    const isTagged = /^rediss?\+cluster:/i.test(REDIS_URL) && /\{.*\}/.test(REDIS_PREFIX)
    return isTagged ? [`REDIS_PREFIX must not have "{" and "}" in a Cluster, as "${REDIS_PREFIX}" has: they would decide where every key stands`] : []
  }
  // Several nodes with embedded brokers would all say that they are ready, and each would lose what others publish.
  const mustAsk = readSetting(env, 'NODE_ENV') === 'production' && REDIS_URL_FILE === undefined
  return mustAsk ? [`REDIS_URL must be set where NODE_ENV is production, as in the image: redis://host:6379, or ${MEMORY_URL} for one node alone that keeps everything in its own memory`] : []
}

/** What is wrong with a REDIS_PREFIX, for tools that read no other setting. */
export function prefixFault (prefix: string): string | undefined {
  return new RegExp((configSchema.properties.REDIS_PREFIX as { pattern?: string }).pattern!).test(prefix) ? undefined : patternsInWords['REDIS_PREFIX']
}

/** `isIncomplete`: a file could not be read, which is reported already, so a missing key is no further fault. */
function keyFaults ({ JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL, ...data }: Record<string, string>, isIncomplete: boolean): string[] {
  const faults = []
  const given = [JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL].filter((key) => key !== undefined).length
  const isUnread = isIncomplete && (data.JWT_SECRET_FILE ?? data.JWT_PUBLIC_KEY_FILE) !== undefined
  if (given !== 1 && !(given === 0 && isUnread)) faults.push(`exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWKS_URL must be set, not ${given === 0 ? 'none' : given}`)
  const secret = JWT_SECRET === undefined ? undefined : secretFault(JWT_SECRET)
  if (secret !== undefined) faults.push(secret)
  if (JWT_PUBLIC_KEY !== undefined) {
    try {
      if (/PRIVATE KEY|BEGIN (RSA )?PUBLIC KEY[^]*BEGIN/.test(JWT_PUBLIC_KEY)) throw new TypeError('a private key, or several')
      keyAlgorithm(JWT_PUBLIC_KEY)
    } catch {
      faults.push('JWT_PUBLIC_KEY must be the PEM of an RSA (2048 bits or more) or P-256 public key, of one alone; to rotate keys, use JWKS_URL')
    }
  }
  if (JWKS_URL !== undefined) {
    const url = URL.canParse(JWKS_URL) ? new URL(JWKS_URL) : undefined
    if (url === undefined || !/^https?:\/\//.test(JWKS_URL) || url.hostname === '') faults.push('JWKS_URL must be a URL with a host, https:// or http://')
    else if (url.username !== '' || url.password !== '') faults.push('JWKS_URL must have no user and no password: it cannot be fetched with them')
    else if (url.hash !== '') faults.push('JWKS_URL must have no #')
  }
  return faults
}

/** Turns `\n` into line breaks, since environment files often cannot hold any. */
export function publicKeyPem (text: string): string {
  return text.replaceAll('\\n', '\n')
}

/** NIST SP 800-131A: shorter keys are not safe. */
export const MIN_RSA_BITS = 2048

/** The one algorithm for a public key; a token never chooses it. Throws TypeError for other keys. */
export function keyAlgorithm (pem: string): 'RS256' | 'ES256' {
  const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey(publicKeyPem(pem))
  if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_RSA_BITS) return 'RS256'
  if (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'ES256'
  throw new TypeError('not an RSA key of 2048 bits or more, nor a P-256 key')
}

function tlsFaults ({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }: Record<string, string>): string[] {
  if (certFile !== undefined && keyFile !== undefined) return [certificateFault({ certFile, keyFile })].filter((fault) => fault !== undefined)
  return certFile === keyFile ? [] : ['TLS_CERT_FILE and TLS_KEY_FILE must both be set, or none of them']
}

function isTrusted (address: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(address)) return true
  const [, ip = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(address) ?? []
  return isIP(ip) !== 0 && (bits === undefined || (Number(bits) <= (isIP(ip) === 4 ? 32 : 128) && !isEverybody(ip, Number(bits))))
}

/** A range of 0 bits would trust everybody; `::/8` and `::ffff:0:0/96` would, too, because IPv4 is part of IPv6. */
function isEverybody (ip: string, bits: number): boolean {
  const range = new BlockList()
  range.addSubnet(ip, bits, isIP(ip) === 4 ? 'ipv4' : 'ipv6')
  return range.check('0.0.0.0') && range.check('255.255.255.255')
}

function listFaults ({ CORS_ORIGINS, TRUST_PROXY, PROXY_PROTOCOL }: Record<string, string>): string[] {
  const proxies = entries(TRUST_PROXY)
    .filter((address) => !isTrusted(address))
    .map((address) => `TRUST_PROXY: "${address}" is not an address; write 10.0.0.7, 10.0.0.0/8, loopback, linklocal or uniquelocal`)
  if (PROXY_PROTOCOL === 'on' && proxies.length === 0 && entries(TRUST_PROXY).length === 0) proxies.push('PROXY_PROTOCOL is on, so TRUST_PROXY must name the balancers that send the header')
  const origins = entries(CORS_ORIGINS)
    .filter((origin) => !isOrigin(origin))
    .map((origin) => `CORS_ORIGINS: "${origin}" is not an origin; write it as ${originLike(origin)}, without a path, and never *`)
  return [...proxies, ...origins]
}
