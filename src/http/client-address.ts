// Client addresses in one spelling each. Proxies write them with ports, in brackets, or as IPv4 inside IPv6.
import { BlockList, isIPv4, isIPv6 } from 'node:net'

const NAMED: Record<string, readonly string[]> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']
}

/** The eight 16-bit groups of an IPv6 address. `ipv6` must be one that Node accepts. */
function groupsOf (ipv6: string): number[] {
  // An IPv4 address at the end stands for two groups.
  const text = ipv6.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) => `${(a * 256 + +b).toString(16)}:${(c * 256 + +d).toString(16)}`)
  const [head = [], tail] = text.split('::').map((part) => part === '' ? [] : part.split(':').map((group) => parseInt(group, 16)))
  return tail === undefined ? head : [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]
}

/** The last two groups as an IPv4 address. */
const ipv4Of = (groups: readonly number[]): string => groups.slice(6).flatMap((group) => [group >> 8, group & 255]).join('.')

/**
 * Returns an address without port, brackets and zone: IPv4 in dotted form, also where it stands in IPv6
 * (`::ffff:192.0.2.1`), and IPv6 as eight groups of hexadecimal digits. Other text is returned unchanged. It is '' for
 * a closed connection, whose address Node no longer knows.
 */
export function addressOf (text: string | undefined = ''): string {
  // Most are, and every request asks several times.
  if (isIPv4(text)) return text
  const [, bracketed, plain] = /^\[([^\]]*)\](?::\d*)?$|^([\d.]+):\d+$/.exec(text.trim()) ?? []
  const bare = (bracketed ?? plain ?? text.trim()).replace(/%.*$/, '')
  if (!isIPv6(bare)) return isIPv4(bare) ? bare : text
  const groups = groupsOf(bare)
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return ipv4Of(groups)
  }
  return groups.map((group) => group.toString(16)).join(':')
}

/** How a translator between IPv4 and IPv6 writes IPv4 clients (RFC 6052, 2.1): all of them are in one /64. */
const TRANSLATED = '64:ff9b:0:0:0:0:'

/**
 * What rate limits count by: an IPv4 address, also if it was translated, or the /64 network of an IPv6 address, within
 * which a client may choose any address.
 */
export function networkOf (text: string | undefined): string {
  const address = addressOf(text)
  if (isIPv4(address) || !isIPv6(address)) return address
  return address.startsWith(TRANSLATED) ? ipv4Of(groupsOf(address)) : `${address.split(':').slice(0, 4).join(':')}::/64`
}

/**
 * Makes Fastify's `trustProxy` of TRUST_PROXY, a list of addresses, ranges, and the names in NAMED. False if it is
 * empty.
 */
export function trustedProxies (list: readonly string[]): false | ((address: string) => boolean) {
  if (list.length === 0) return false
  const ranges = new BlockList()
  for (const entry of list.flatMap((entry) => NAMED[entry] ?? [entry])) {
    const [ip = '', bits] = entry.split('/')
    const family = isIPv4(ip) ? 'ipv4' : 'ipv6'
    ranges.addSubnet(ip, bits === undefined ? (family === 'ipv4' ? 32 : 128) : Number(bits), family)
  }
  return (text) => {
    const address = addressOf(text)
    return isIPv6(address) ? ranges.check(address, 'ipv6') : isIPv4(address) && ranges.check(address, 'ipv4')
  }
}
