// The settings: environment → Config. The schema below is the type, the defaults, and what the README's table is tested against.
import { createPublicKey } from 'node:crypto'
import { isIP } from 'node:net'
import { envSchema, type EnvSchemaOpt } from 'env-schema'
import Type, { type Static } from 'typebox'

const text = (description: string, options: object = {}) => Type.Optional(Type.String({ description, ...options }))
const whole = (fallback: number, minimum: number, maximum: number, description: string) =>
  Type.Integer({ default: fallback, minimum, maximum, description })
const list = (description: string) => Type.Unsafe<string[]>({ type: 'string', separator: ',', default: '', description })

/** A day that a `setTimeout` can still count in milliseconds. */
const MAX_SECONDS = 2_000_000

export const configSchema = Type.Object({
  HOST: Type.String({ default: '127.0.0.1', description: 'address to listen on; the image sets `0.0.0.0`' }),
  PORT: whole(3000, 0, 65_535, 'port to listen on; `0` takes a free one'),
  NODE_NAME: text('names the node in logs, metrics and the `Tidings-Node` response header; unset: host name and process id', { pattern: '^[!-~]{1,128}$' }),
  REDIS_URL: text('`redis://` or `rediss://`, with user and password; unset: embedded broker, one node', { pattern: '^rediss?://' }),
  REDIS_PREFIX: Type.String({ default: 'tidings', pattern: '^[!-~]{1,64}$', description: 'first part of every key and channel' }),
  JWT_SECRET: text('HS256 secret, at least 32 bytes'),
  JWT_PUBLIC_KEY: text('PEM of a public key, RS256 or ES256 (P-256)'),
  JWKS_URL: text('key set, RS256 or ES256', { pattern: '^https?://' }),
  JWT_ISSUER: text('the `iss` that a token must have; unset: not checked'),
  JWT_AUDIENCE: text('the `aud` that a token must have; unset: not checked'),
  TOKEN_COOKIE: Type.String({ default: 'tidings_token', pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", description: 'cookie that may carry the token' }),
  CORS_ORIGINS: list('comma-separated origins that may connect from a browser, with credentials; empty: same origin only'),
  HEARTBEAT_SECONDS: whole(15, 1, 3600, 'between two `ping` events'),
  RETRY_MS: whole(3000, 1, 3_600_000, 'reconnect hint, jittered where many would come at once'),
  EXPIRING_SECONDS: whole(60, 1, 86_400, 'how long before its token ends a stream says `expiring`, jittered 50 to 100 %'),
  COALESCE_MS: whole(5, 0, 1000, 'under load, gather messages this long and write each stream once; a message in an idle moment leaves at once'),
  HISTORY_LENGTH: whole(1000, 1, 1_000_000, 'notifications that a log keeps at least, for each address'),
  HISTORY_SECONDS: whole(86_400, 1, 31_536_000, 'how long a log is kept after its last notification'),
  MAX_DATA_BYTES: whole(65_536, 1, 16_777_216, '`data` of one notification, serialised'),
  STREAM_BUFFER_BYTES: whole(1_048_576, 16_384, 1_073_741_824, 'unsent bytes before a slow stream is cut'),
  MAX_STREAMS_PER_USER: whole(20, 1, 1_000_000, 'on one node; the next is refused (403)'),
  MAX_STREAMS: whole(0, 0, 10_000_000, 'on one node, over all users; the next is told to come back later; 0 = no limit'),
  MAX_STREAM_SECONDS: whole(3600, 1, MAX_SECONDS, 'age limit of a stream, jittered 80 to 100 %'),
  SESSION_POLICY: Type.Unsafe<'multiple' | 'single'>({ type: 'string', enum: ['multiple', 'single'], default: 'multiple', description: '`multiple`, or `single`: at most one stream a user' }),
  PUBLISH_PER_MINUTE: whole(6000, 0, 1_000_000_000, 'for each publishing token\'s `sub`, over all nodes; 0 = no limit'),
  CONNECTS_PER_MINUTE: whole(120, 0, 1_000_000_000, 'for each user, over all nodes; past it a stream is told to come back later; 0 = no limit'),
  CONNECTS_PER_MINUTE_PER_ADDRESS: whole(0, 0, 1_000_000_000, 'the same for each client address; set TRUST_PROXY with it, or all clients of a proxy count as one'),
  DRAIN_SECONDS: whole(10, 0, 3600, 'over which streams are ended at SIGTERM'),
  TRUST_PROXY: list('comma-separated addresses or CIDR ranges whose `X-Forwarded-*` count'),
  LOG_LEVEL: Type.Unsafe<'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'>({
    type: 'string', enum: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], default: 'info', description: 'pino level; `info` has one line when a stream opens and one when it ends'
  })
})

export type Config = Readonly<Static<typeof configSchema>> & { readonly NODE_NAME: string }

/** Every fault of the environment at once, a sentence each. */
export class ConfigError extends Error {
  readonly faults: readonly string[]

  constructor (faults: readonly string[]) {
    super(`The settings are not valid:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`)
    this.faults = faults
  }
}

type Env = Record<string, string | undefined>

/**
 * Reads the settings from an environment; a variable set to nothing counts as unset (compose files do that).
 * `nodeName` is the default of NODE_NAME. Throws ConfigError.
 */
export function parseConfig (env: Env, nodeName: string): Config {
  const data: Record<string, string> = { NODE_NAME: nodeName }
  for (const name of Object.keys(configSchema.properties)) {
    const value = env[name]?.trim()
    if (value !== undefined && value !== '') data[name] = value
  }
  const faults: string[] = []
  let config: Config | undefined
  try {
    // A copy: env-schema writes into the schema it is given.
    config = envSchema({ schema: structuredClone(configSchema) as NonNullable<EnvSchemaOpt['schema']>, data, env: false }) as unknown as Config
  } catch (error) {
    for (const { instancePath, message } of (error as { errors?: Array<{ instancePath: string, message?: string }> }).errors ?? []) {
      faults.push(`${instancePath.slice(1)} ${message ?? 'is not valid'}`)
    }
    if (faults.length === 0) throw error
  }
  faults.push(...keyFaults(data), ...urlFaults(data), ...listFaults(data))
  const { STREAM_BUFFER_BYTES, MAX_DATA_BYTES } = configSchema.properties as Record<string, { default?: number }>
  if (Number(data.STREAM_BUFFER_BYTES ?? STREAM_BUFFER_BYTES?.default) < Number(data.MAX_DATA_BYTES ?? MAX_DATA_BYTES?.default) + 4096) {
    faults.push('STREAM_BUFFER_BYTES must exceed MAX_DATA_BYTES by at least 4096, or no large notification could ever be sent')
  }
  if (faults.length > 0 || config === undefined) throw new ConfigError(faults)
  return Object.freeze(config)
}

function keyFaults ({ JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL }: Record<string, string>): string[] {
  const faults = []
  const given = [JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL].filter((key) => key !== undefined).length
  if (given !== 1) faults.push(`exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWKS_URL must be set, not ${given === 0 ? 'none' : given}`)
  if (JWT_SECRET !== undefined && Buffer.byteLength(JWT_SECRET) < 32) {
    faults.push('JWT_SECRET must have at least 32 bytes; "openssl rand -base64 48" makes one')
  }
  if (JWT_PUBLIC_KEY !== undefined) {
    try {
      if (JWT_PUBLIC_KEY.includes('PRIVATE KEY')) throw new TypeError('a private key')
      keyAlgorithm(JWT_PUBLIC_KEY)
    } catch {
      faults.push('JWT_PUBLIC_KEY must be the PEM of an RSA or P-256 public key')
    }
  }
  return faults
}

/** Environment files often cannot hold a line break: `\\n` stands for one. */
export function publicKeyPem (text: string): string {
  return text.replaceAll('\\n', '\n')
}

/** The one algorithm that a public key is used with; a token never chooses. */
export function keyAlgorithm (pem: string): 'RS256' | 'ES256' {
  const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey(publicKeyPem(pem))
  if (asymmetricKeyType === 'rsa') return 'RS256'
  if (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'ES256'
  throw new TypeError('not an RSA or P-256 key')
}

function urlFaults (data: Record<string, string>): string[] {
  return ['REDIS_URL', 'JWKS_URL']
    .filter((name) => data[name] !== undefined && (!URL.canParse(data[name]) || new URL(data[name]).hostname === ''))
    .map((name) => `${name} must be a URL with a host`)
}

function isTrusted (address: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(address)) return true
  const [ip = '', bits] = address.split('/')
  return isIP(ip) !== 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (isIP(ip) === 4 ? 32 : 128)))
}

function listFaults ({ CORS_ORIGINS, TRUST_PROXY }: Record<string, string>): string[] {
  const list = (text = ''): string[] => text.split(',').map((entry) => entry.trim()).filter((entry) => entry !== '')
  const proxies = list(TRUST_PROXY)
    .filter((address) => !isTrusted(address))
    .map((address) => `TRUST_PROXY: "${address}" is not an address; write 10.0.0.7, 10.0.0.0/8, loopback, linklocal or uniquelocal`)
  const origins = list(CORS_ORIGINS)
    .filter((origin) => !URL.canParse(origin) || new URL(origin).origin !== origin)
    .map((origin) => `CORS_ORIGINS: "${origin}" is not an origin; write it as https://app.example, without a path, and never *`)
  return [...proxies, ...origins]
}
