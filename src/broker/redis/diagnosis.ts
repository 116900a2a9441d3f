// What a Redis is that cannot be used, and what to do about it, in one sentence.

/** From Redis's INFO. */
export interface ServerInfo {
  readonly runId: string
  readonly maxMemory: number
  readonly usedMemory: number
  readonly policy: string
  /** Why it cannot be used. */
  readonly fault: string | undefined
}

export function readInfo (text: string): ServerInfo {
  const field = (name: string): string => new RegExp(`^${name}:([^\r\n]*)`, 'm').exec(text)?.[1] ?? ''
  return {
    runId: field('run_id'),
    maxMemory: Number(field('maxmemory')),
    usedMemory: Number(field('used_memory')),
    policy: field('maxmemory_policy'),
    fault: faultOf(field)
  }
}

function faultOf (field: (name: string) => string): string | undefined {
  const version = field('redis_version')
  const mode = field('redis_mode')
  if (mode === 'sentinel') return 'REDIS_URL is that of a Sentinel, which holds no data; give the address of the master that it watches'
  if (mode === 'cluster') return 'REDIS_URL is that of a node of a Redis Cluster, which is not supported by redis://; use a Redis that is no Cluster'
  if (version !== '' && Number.parseInt(version) < 7) return `Redis ${version} has no functions; use Redis 7 or later, or Valkey`
  if (field('role') === 'slave') return `REDIS_URL is that of a replica, which takes no writes; give the address of its master (${field('master_host')}:${field('master_port')})`
  return undefined
}

const SENTENCES: ReadonlyArray<readonly [RegExp, string]> = [
  [/^OOM/, 'Redis is full and takes no writes; give it more maxmemory, or less to keep (HISTORY_LENGTH, HISTORY_SECONDS)'],
  [/^READONLY/, 'REDIS_URL is that of a replica, which takes no writes; give the address of its master'],
  [/^MISCONF/, 'Redis cannot write to its disk and takes no writes; look at its log, most often the disk is full'],
  [/^NOREPLICAS/, 'Redis takes no writes while it has too few replicas (min-replicas-to-write)'],
  [/^(NOAUTH|WRONGPASS|ERR AUTH)/, 'Redis wants another user or password; set them in REDIS_URL (redis://user:password@host:port)'],
  [/^(MOVED|CLUSTERDOWN|CROSSSLOT)/, 'REDIS_URL is that of a node of a Redis Cluster, which is not supported by redis://; use a Redis that is no Cluster'],
  [/NOPERM.*function/, 'the Redis user may not load functions; allow it +function|load, or load them by hand: npm run -s functions | redis-cli -x FUNCTION LOAD REPLACE'],
  [/NOPERM.*channel/, 'the Redis user may not use the channels under REDIS_PREFIX; allow it &<prefix>:* (docs/security.md has the recipe)'],
  [/NOPERM/, 'the Redis user may not do what a node must; docs/security.md has the recipe'],
  [/unknown command.*(fcall|function)/i, 'this Redis has no functions (FUNCTION, FCALL); use Redis 7 or later, or Valkey'],
  [/unknown command/i, 'this Redis does not know a command that a node needs; use Redis 7 or later, or Valkey'],
  [/^ENOENT|EACCES/, 'there is no such socket, or it may not be used'],
  [/ECONNREFUSED/, 'nobody listens at REDIS_URL'],
  [/(ENOTFOUND|EAI_AGAIN)/, 'the host name of REDIS_URL is not known'],
  [/wrong version number|packet length too long|EPROTO/i, 'Redis does not speak TLS there; use redis:// instead of rediss://, or its TLS port']
]

/** The same with the words of Redis behind it. */
export function explain (message: string): string {
  if (message.startsWith('TIDINGS_')) return message.slice(message.indexOf(' ') + 1)
  if (message.endsWith(']')) return message // it was explained already
  const known = SENTENCES.find(([pattern]) => pattern.test(message))
  return known === undefined ? message : `${known[1]} [${message.slice(0, 200)}]`
}
