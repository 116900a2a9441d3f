// Parses and checks REDIS_URL completely, so that no fault is left for a client library to fail on.
import { decode } from './percent.ts'

/** The value that asks for the embedded broker. */
export const MEMORY_URL = 'memory:'

export interface RedisAddress {
  readonly host: string
  readonly port: number
}

export interface Login {
  /** '' if there is none. */
  readonly username: string
  readonly password: string
}

/** Where Redis is. */
export interface RedisPlace extends Login {
  /** One Redis, the Sentinels that know the master, or some nodes of a Cluster. */
  readonly kind: 'single' | 'sentinel' | 'cluster'
  readonly addresses: readonly RedisAddress[]
  readonly isTls: boolean
  readonly database: number
  /** The master's name among the Sentinels; '' otherwise. */
  readonly masterName: string
  /** The login of the Sentinels, if it differs. */
  readonly sentinelLogin?: Login
}

const FORMS = `redis://[user:password@]host:port[/database], redis+sentinel://[user:password@[user:password@]]host:port,host:port/<master>[/database] (the second is that of the Sentinels), redis+cluster://[user:password@]host:port,host:port, each with rediss for TLS, or ${MEMORY_URL} for the embedded broker`
const ENCODE = 'whatever of % / ? # @ : , stands in the password must be percent-encoded'
const PORTS = { single: 6379, sentinel: 26_379, cluster: 6379 } as const

/**
 * What is wrong with a URL, as the end of a sentence that begins with "REDIS_URL". It never quotes the URL, which may
 * hold a password.
 */
export function redisUrlFault (text: string): string | undefined {
  if (text === MEMORY_URL) return undefined
  const place = readRedisUrl(text)
  return typeof place === 'string' ? place : undefined
}

/** Throws an Error with the sentence of `redisUrlFault`. */
export function parseRedisUrl (text: string): RedisPlace {
  const place = readRedisUrl(text)
  if (typeof place === 'string') throw new Error(`REDIS_URL ${place}`)
  return place
}

function readRedisUrl (text: string): RedisPlace | string {
  const scheme = /^redis(s?)(?:\+(sentinel|cluster))?:\/\//.exec(text)
  if (scheme === null) return `must be ${FORMS}`
  const kind = scheme[2] as 'sentinel' | 'cluster' | undefined ?? 'single'
  const rest = text.slice(scheme[0].length)
  if (/[?#]/.test(rest)) return 'must have no ? and no #; percent-encode them in a password as %3F and %23'
  const [authority = '', ...path] = rest.split('/')
  const at = authority.lastIndexOf('@')
  const hosts = authority.slice(at + 1).split(',')
  if (kind === 'single' && hosts.length > 1) return `has several hosts, which only redis+sentinel:// and redis+cluster:// have; it must be ${FORMS}`
  const addresses: RedisAddress[] = []
  for (const host of hosts) {
    const url = readAuthority(host)
    if (typeof url === 'string') return url
    addresses.push({ host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port === '' ? PORTS[kind] : url.port) })
  }
  const users = at === -1 ? [''] : kind === 'sentinel' ? authority.slice(0, at).split('@') : [authority.slice(0, at)]
  if (users.length > 2) return 'has an @ in its user or password; write %40 for it'
  const logins: Login[] = []
  for (const user of users) {
    const login = readLogin(user)
    if (typeof login === 'string') return login
    logins.push(login)
  }
  const [login, sentinelLogin] = logins
  const where = readPath(kind, path)
  if (typeof where === 'string') return where
  return { kind, addresses, isTls: scheme[1] === 's', ...login!, ...sentinelLogin !== undefined && { sentinelLogin }, ...where }
}

function readAuthority (authority: string): URL | string {
  const text = `redis://${authority}`
  if (/(^|@)$/.test(authority) || !URL.canParse(text)) return `is not a URL; it must be ${FORMS}, and ${ENCODE}`
  const url = new URL(text)
  return url.hostname === '' ? `has no host; it must be ${FORMS}` : url
}

function readLogin (user: string): Login | string {
  const url = readAuthority(user === '' ? 'host' : `${user}@host`)
  if (typeof url === 'string') return url
  if (!isEncoded(url.username) || !isEncoded(url.password)) return 'has a % in its user or password that encodes nothing; write %25 for it'
  return { username: decodeURIComponent(url.username), password: decodeURIComponent(url.password) }
}

function readPath (kind: RedisPlace['kind'], path: readonly string[]): Pick<RedisPlace, 'database' | 'masterName'> | string {
  const isDatabase = (text: string): boolean => /^\d{0,5}$/.test(text)
  if (kind === 'sentinel') {
    const [name = '', database = '', ...more] = path
    if (name === '') return 'must end with the name by which the Sentinels know the master: redis+sentinel://host:port,host:port/<master>'
    if (!isEncoded(name) || !isDatabase(database) || more.length > 0) return 'must end with the name of the master and, if need be, the number of a database: /<master>/2'
    return { masterName: decodeURIComponent(name), database: Number(database) }
  }
  const [database = '', ...more] = path
  if (kind === 'cluster') {
    return database === '' && more.length === 0 ? { masterName: '', database: 0 } : 'must end with the last host and port, since a Cluster has no databases; percent-encode / in a password as %2F'
  }
  if (!isDatabase(database) || more.length > 0) return 'must end with the host, the port or the number of a database; percent-encode / in a password as %2F'
  return { masterName: '', database: Number(database) }
}

const isEncoded = (text: string): boolean => decode(text) !== undefined
