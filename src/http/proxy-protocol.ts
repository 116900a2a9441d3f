// Parses the PROXY protocol, versions 1 and 2, by which a layer 4 balancer names the client
// (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt). The npm packages for it read one version only, or
// whole headers only, or have had no release for years. The bytes come from unknown clients, so their number is
// bounded.
import { isIPv4, isIPv6 } from 'node:net'

interface Source {
  readonly address: string
  readonly port: number
  readonly family: 'IPv4' | 'IPv6'
}

export interface ProxyHeader {
  /** Length of the header in bytes. The client's bytes follow. */
  readonly length: number
  /** The client. Undefined if the balancer speaks for itself, as in a health check, or does not say. */
  readonly source: Source | undefined
  /** The balancer terminated the client's TLS. */
  readonly isEncrypted: boolean
}

const SIGNATURE_1 = Buffer.from('PROXY ')
const SIGNATURE_2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
/** Of version 1, with its line end, as the specification says. */
const MAX_LINE_BYTES = 107
const FIXED_BYTES = 16
/** Of version 2. The length field allows 64 KB, but balancers send some dozens of bytes and a certificate's name. */
const MAX_HEADER_BYTES = FIXED_BYTES + 2048

const LOCAL = 0x20
const PROXY = 0x21
const UNSPECIFIED = 0x00
const TCP4 = 0x11
const TCP6 = 0x21
const UNIX = 0x31
const TYPE_SSL = 0x20
const CLIENT_SSL = 0x01

/**
 * Reads a header. `more`: the bytes so far may be the beginning of one. `bad`: they are not a header, or not one to
 * rely on. Never asks for more than MAX_HEADER_BYTES.
 */
export function readProxyHeader (bytes: Buffer): ProxyHeader | 'more' | 'bad' {
  if (startsLike(bytes, SIGNATURE_2)) return bytes.length < FIXED_BYTES ? 'more' : readBinary(bytes)
  return startsLike(bytes, SIGNATURE_1) ? readLine(bytes) : 'bad'
}

function startsLike (bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}

function readLine (bytes: Buffer): ProxyHeader | 'more' | 'bad' {
  const end = bytes.subarray(0, MAX_LINE_BYTES).indexOf('\r\n')
  if (end < 0) return bytes.length < MAX_LINE_BYTES ? 'more' : 'bad'
  const [, kind, from = '', to = '', port = '', toPort = '', ...more] = bytes.toString('latin1', 0, end).split(' ')
  const length = end + 2
  if (kind === 'UNKNOWN') return { length, source: undefined, isEncrypted: false }
  const isAddress = kind === 'TCP4' ? isIPv4 : kind === 'TCP6' ? isIPv6 : undefined
  if (isAddress === undefined || !isAddress(from) || !isAddress(to) || !isPort(port) || !isPort(toPort) || more.length > 0) return 'bad'
  return { length, source: { address: from, port: Number(port), family: kind === 'TCP4' ? 'IPv4' : 'IPv6' }, isEncrypted: false }
}

const isPort = (text: string): boolean => /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535

function readBinary (bytes: Buffer): ProxyHeader | 'more' | 'bad' {
  const command = bytes[12]
  const family = bytes[13]
  const length = FIXED_BYTES + bytes.readUInt16BE(14)
  if ((command !== LOCAL && command !== PROXY) || length > MAX_HEADER_BYTES) return 'bad'
  if (bytes.length < length) return 'more'
  if (command === LOCAL || family === UNSPECIFIED || family === UNIX) return { length, source: undefined, isEncrypted: false }
  if (family !== TCP4 && family !== TCP6) return 'bad'
  const [size, name] = family === TCP4 ? [4, 'IPv4'] as const : [16, 'IPv6'] as const
  const addressesEnd = FIXED_BYTES + 2 * size + 4
  if (length < addressesEnd) return 'bad'
  const source = { address: textOf(bytes.subarray(FIXED_BYTES, FIXED_BYTES + size)), port: bytes.readUInt16BE(FIXED_BYTES + 2 * size), family: name }
  return { length, source, isEncrypted: hasTls(bytes.subarray(addressesEnd, length)) }
}

function textOf (address: Buffer): string {
  if (address.length === 4) return address.join('.')
  return Array.from({ length: 8 }, (_, i) => address.readUInt16BE(2 * i).toString(16)).join(':')
}

/** Finds the TLS field among the optional ones, each of which has a type, a length and a value. */
function hasTls (fields: Buffer): boolean {
  for (let at = 0; at + 3 <= fields.length; at += 3 + fields.readUInt16BE(at + 1)) {
    if (fields[at] === TYPE_SSL && at + 3 < fields.length) return (fields[at + 3]! & CLIENT_SSL) !== 0
  }
  return false
}
