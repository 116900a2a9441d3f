// Says in one sentence why a Redis cannot be used, and what to do.
import type { RedisPlace } from '../../redis-url.ts'

/** From Redis's INFO. */
export interface ServerInfo {
  readonly runId: string
  /** Names the writes of a master. It becomes another one when the server restarts, and when a replica is promoted. */
  readonly replicationId: string
  readonly maxMemory: number
  readonly usedMemory: number
  readonly policy: string
  readonly version: string
  /** standalone, cluster or sentinel. */
  readonly mode: string
  /** The address of its master if it is a replica, else ''. */
  readonly master: string
}

export function readInfo (text: string): ServerInfo {
  const field = (name: string): string => new RegExp(`^${name}:([^\r\n]*)`, 'm').exec(text)?.[1] ?? ''
  return {
    runId: field('run_id'),
    replicationId: field('master_replid'),
    maxMemory: Number(field('maxmemory')),
    usedMemory: Number(field('used_memory')),
    policy: field('maxmemory_policy'),
    version: field('redis_version'),
    mode: field('redis_mode') || field('server_mode'), // Valkey
    master: field('role') === 'slave' ? `${field('master_host')}:${field('master_port')}` : ''
  }
}

/** Why the Redis at REDIS_URL cannot be used; undefined if it can. `kind`: what REDIS_URL says that it is. */
export function placeFault ({ version, mode, master }: ServerInfo, kind: RedisPlace['kind']): string | undefined {
  if (mode === 'sentinel') return 'REDIS_URL is that of a Sentinel, which holds no data; write redis+sentinel://host:port,host:port/<master>, with all Sentinels'
  if (mode === 'cluster' && kind !== 'cluster') return 'REDIS_URL is that of a node of a Redis Cluster; write redis+cluster:// instead, with some of its nodes'
  if (version !== '' && Number.parseInt(version) < 7) return `Redis ${version} has no functions; use Redis 7 or later, or Valkey`
  if (master === '') return undefined
  return kind === 'single'
    ? `REDIS_URL is that of a replica, which takes no writes; give the address of its master (${master}), or of the Sentinels that know it`
    : 'the master has become a replica; the one that took its place is being looked for'
}

/** The fault before the first answer. */
export const NOT_CONNECTED = 'not connected yet'

/** The fault while Redis loads its data; no connection comes up until it is done. */
export const LOADING = 'Redis is loading its data into memory; it answers when it has, and nothing need be done'

/** The fault if the other side ends each connection in good order, as a proxy does that has no Redis behind it. */
export const CUT = 'the connection was cut; nothing was answered before that. Redis has ended, or a proxy or tunnel before it finds no Redis, or it speaks TLS alone, and REDIS_URL must say rediss://, or it is in protected mode (no password, and for its own machine alone)'

const SENTENCES: ReadonlyArray<readonly [RegExp, string]> = [
  [/^OOM/, 'Redis is full and takes no writes; give it more maxmemory, or less to keep (HISTORY_LENGTH, HISTORY_SECONDS)'],
  [/^READONLY/, 'Redis is a replica by now, and takes no writes, as after a failover; give REDIS_URL the new master, or the Sentinels'],
  [/^MISCONF/, 'Redis cannot write to its disk and takes no writes; look at its log, most often the disk is full'],
  [/^NOREPLICAS/, 'Redis takes no writes while it has too few replicas; bring one back, or lower min-replicas-to-write'],
  [/^WRONGTYPE/, 'a key under REDIS_PREFIX is not of the kind that Tidings writes, so something else wrote it; find and delete it as docs/operations.md says'],
  [/^BUSY /, 'Redis runs a script that does not end, and answers nobody else; redis-cli SCRIPT KILL ends it, or FUNCTION KILL where it is a function'],
  [/^LOADING/, LOADING],
  [/^DENIED/, 'Redis is in protected mode: without a password it is for its own machine alone; set requirepass, and the password in REDIS_URL'],
  [/max number of clients/, 'Redis takes no more connections; raise its maxclients, or end connections that nobody needs'],
  [/invalid bulk length/, 'Redis cuts off whoever sends more than it takes; raise its proto-max-bulk-len well above MAX_DATA_BYTES'],
  [/^(NOAUTH|WRONGPASS|ERR AUTH)/, 'Redis wants another user or password; set them in REDIS_URL (redis://user:password@host:port)'],
  [/^CLUSTERDOWN/, 'the Cluster is down; a master is away, and nobody has taken its place yet; redis-cli --cluster check says which'],
  [/^(MOVED|ASK|TRYAGAIN)/, 'the slot is on its way to another master of the Cluster; if it does not arrive, redis-cli --cluster fix'],
  [/^CROSSSLOT/, 'REDIS_URL is that of a node of a Redis Cluster; write redis+cluster:// instead, with some of its nodes'],
  [/DB index/, 'REDIS_URL names a database that this Redis does not have; use one of those that it has (databases in its configuration), or none: redis://host:port'],
  [/NOPERM.*select/, 'the Redis user may not use the database of REDIS_URL; allow it +select, or name no database: redis://host:port'],
  [/NOPERM.*function/, 'the Redis user may not load functions; allow it +function|load, or load them by hand: npm run -s functions | redis-cli -x FUNCTION LOAD REPLACE'],
  [/NOPERM.*channel/, 'the Redis user may not use the channels under REDIS_PREFIX; allow it &<prefix>:* (docs/security.md has the recipe)'],
  [/NOPERM|executing the script can't/, 'the Redis user may not do what a node must; docs/security.md has the recipe'],
  [/unknown command.*(fcall|function)/i, 'this Redis has no functions (FUNCTION, FCALL), or its configuration takes them away (rename-command); use Redis 7 or later, or Valkey'],
  [/unknown (redis )?command|Invalid command passed/i, 'this Redis does not know a command that a node needs, or its configuration takes it away (rename-command); use Redis 7 or later, or Valkey'],
  [/EMFILE|ENFILE/, 'this node may open no more files, so it cannot connect; raise their number (LimitNOFILE, ulimits), or set MAX_STREAMS below it'],
  [/EACCES|EPERM/, 'the system of this node forbids the connection; look at its firewall, and at what confines the process (IPAddressDeny of systemd, SELinux)'],
  [/EADDRNOTAVAIL/, 'the system of this node has no port or no address left to connect from; look at ip_local_port_range, and whether it has IPv6 if REDIS_URL wants it'],
  [/certificate required/, 'Redis wants a certificate of this node; nodes have none, so set tls-auth-clients to no or optional in its configuration'],
  [/ECONNRESET|ECONNABORTED|EPIPE|^Stream isn't writeable/, 'the connection was cut; Redis has ended, or it has no place left (maxclients), or it speaks TLS alone, and REDIS_URL must say rediss://, or it wants a certificate of this node (tls-auth-clients), or it is in protected mode (no password, and for its own machine alone)'],
  [/ECONNREFUSED/, 'nobody listens at REDIS_URL; start Redis, or mend host and port'],
  [/ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN/, 'the machine of REDIS_URL does not answer; look whether it is up, at host and port, and whether a firewall or a network policy stands in between'],
  [/(ENOTFOUND|EAI_AGAIN)/, 'the host name of REDIS_URL is not known; look at its spelling, and at the name server'],
  [/certificate (has expired|is not yet valid)/, 'the certificate of Redis has ended, or is not valid yet; renew it, or set the clock of this node'],
  [/certificate|CERT_|issuer/i, 'Redis has a certificate that this node does not trust; give Node your CA by NODE_EXTRA_CA_CERTS, and REDIS_URL a name that stands in it'],
  [/timed out/, 'Redis did not answer in time; look whether it is stopped or overloaded, and whether it is a Redis that listens at REDIS_URL'],
  [/Unknown RESP type/, 'there answers something at REDIS_URL that is no Redis; look at its host and port'],
  [/wrong version number|packet length too long|EPROTO|before secure TLS connection/i, 'Redis does not speak TLS there; use redis:// instead of rediss://, or its TLS port']
]

/** Redis repeats the arguments of a command that it does not know: those of AUTH are a password. */
const ARGUMENTS = /, with args beginning with:[^]*/

/** Explains an error of Redis. Its own words follow in brackets. */
export function explain (error: string): string {
  const message = error.replace(ARGUMENTS, '')
  if (message.startsWith('TIDINGS_')) return message.slice(message.indexOf(' ') + 1)
  if (message.endsWith(']')) return message // already explained
  const match = SENTENCES.find(([pattern]) => pattern.test(message))
  return match === undefined ? message : `${match[1]} [${message.replace(/^(read|write) (?=E)/, '').slice(0, 200)}]`
}

/** Whether this is the fault of a master that works, and only takes no writes for now. It passes messages on. */
export function refusesWrites (fault: string): boolean {
  return /\[(OOM|MISCONF|NOREPLICAS) /.test(fault)
}

/** A Sentinel that was started while the master's host name led nowhere gives no address for it. */
export const UNRESOLVED = 'the Sentinels cannot resolve the host name of the master; mend their DNS'

/** Why no Sentinel has named the master. */
export function sentinelFault (reasons: readonly Error[], masterName: string): string {
  const messages = reasons.map(({ message }) => message)
  if (messages.some((message) => /No such master/.test(message))) return `the Sentinels know no master named ${masterName}; give REDIS_URL the name that stands in their "sentinel monitor"`
  if (messages.some((message) => /unknown command/i.test(message))) return 'REDIS_URL says redis+sentinel://, and what answers there is no Sentinel; give the addresses of the Sentinels, most often port 26379'
  if (messages.some((message) => /^(NOAUTH|WRONGPASS|ERR AUTH|NOPERM)/.test(message))) return 'the Sentinels want another user or password; REDIS_URL has theirs behind that of Redis: redis+sentinel://user:password@user:password@host:port/<master>'
  if (messages.includes(UNRESOLVED)) return UNRESOLVED
  return `no Sentinel answers: ${explain(messages[0] ?? 'none is known')}`
}

/** Why no node of the Cluster has named the masters. */
export function clusterFault (reasons: readonly Error[]): string {
  if (reasons.some(({ message }) => message.includes('cluster support disabled'))) return 'REDIS_URL says redis+cluster://, and what answers there is no Cluster; write redis://'
  // A Sentinel has no such command, nor has a Redis whose operator took it away.
  if (reasons.some(({ message }) => /unknown command ['`]?cluster/i.test(message))) return 'REDIS_URL says redis+cluster://, and what answers there is no Cluster; it has no command CLUSTER. Write redis+sentinel://host:port,host:port/<master> if it is a Sentinel, else redis://'
  return `no node of the Cluster answers: ${explain(reasons[0]?.message ?? 'none is known')}`
}

export const CLUSTER_HAS_HOLES = 'the Cluster has no master for a part of its slots; redis-cli --cluster check says which'
