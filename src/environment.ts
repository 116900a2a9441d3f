// Reads settings from the environment, by one rule for the service, its health check and the token maker.
import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'

export type Env = Readonly<Record<string, string | undefined>>

/** Where a node listens by default. Kept here for the health check, which reads no other settings. */
export const LISTEN_DEFAULTS = { HOST: '127.0.0.1', PORT: 3000 } as const

/**
 * Settings that may be given as a file named by `<name>_FILE`, so that secrets stand in no environment and no process
 * list.
 */
export const IN_FILES = ['REDIS_URL', 'JWT_SECRET', 'JWT_PUBLIC_KEY'] as const

/** A value without surrounding white space. An empty variable counts as unset, because compose files set such. */
export function readSetting (env: Env, name: string): string | undefined {
  const value = env[name]?.trim()
  return value === '' ? undefined : value
}

/**
 * The same for a setting that may be in a file. Throws an Error with a sentence if the file cannot be read, or if both
 * are set.
 */
export function readSettingOrFile (env: Env, name: (typeof IN_FILES)[number]): string | undefined {
  const path = readSetting(env, `${name}_FILE`)
  const value = readSetting(env, name)
  if (path === undefined) return value
  if (value !== undefined) throw new Error(`${name} and ${name}_FILE are both set; keep one of them`)
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new Error(`${name}_FILE: "${path}" cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`)
  }
  // Decoding makes every other byte the same character: a random secret would lose half of its bits, and no token
  // that was signed with the bytes of the file would count.
  if (name !== 'JWT_PUBLIC_KEY' && !isUtf8(bytes)) throw new Error(`${name}_FILE: "${path}" is not text in UTF-8; write the value as text, random bytes in base64 for example`)
  const text = bytes.toString().trim()
  if (text === '') throw new Error(`${name}_FILE: "${path}" is empty`)
  return text
}

/** What is wrong with a JWT_SECRET. The library that signs throws at a PEM, because a public key is no secret. */
export function secretFault (secret: string): string | undefined {
  if (secret.includes('-----BEGIN')) return 'JWT_SECRET must be a secret, not a key in PEM; a public key belongs in JWT_PUBLIC_KEY'
  // Node has put U+FFFD in place of bytes that are not UTF-8, whichever they were.
  if (secret.includes('\uFFFD')) return 'JWT_SECRET is not text in UTF-8; write random bytes in base64: "openssl rand -base64 48" does'
  if (Buffer.byteLength(secret) < 32) return 'JWT_SECRET must have at least 32 bytes; "openssl rand -base64 48" makes one'
  return undefined
}
