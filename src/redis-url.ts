// What REDIS_URL may be. It is looked at here, whole, so that no fault of it is left for a client library to stumble over.

/** The embedded broker, asked for by name. */
export const MEMORY_URL = 'memory:'

const FORMS = `redis://[user:password@]host:port[/database], rediss:// for TLS, or ${MEMORY_URL} for the embedded broker`

/** What is wrong with it, as the end of a sentence that begins with "REDIS_URL"; it never quotes the text, which may hold a password. */
export function redisUrlFault (text: string): string | undefined {
  if (text === MEMORY_URL) return undefined
  if (!/^rediss?:\/\//.test(text)) return `must be ${FORMS}`
  if (!URL.canParse(text)) return `is not a URL; it must be ${FORMS}, and whatever of % / ? # @ : stands in the password must be percent-encoded`
  const { hostname, username, password, pathname, search, hash } = new URL(text)
  if (hostname === '') return `has no host; it must be ${FORMS}`
  if (!isEncoded(username) || !isEncoded(password)) return 'has a % in its user or password that encodes nothing; write %25 for it'
  if (!/^\/?(\d{1,5})?$/.test(pathname)) return 'must end with the host, the port or the number of a database; percent-encode / in a password as %2F'
  if (search !== '' || hash !== '') return 'must have no ? and no #; percent-encode them in a password as %3F and %23'
  return undefined
}

function isEncoded (text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
