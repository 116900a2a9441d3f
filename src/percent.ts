// Percent-encoding (RFC 3986, 2.1).

/**
 * Returns undefined for what cannot be decoded. Languages encode differently (`@` or `%40`, `!` or `%21`, `%2f` or
 * `%2F`), so names are compared when they are decoded.
 */
export function decode (text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
