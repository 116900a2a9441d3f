// The TLS certificate of a node: reads and checks it, and reads it again when its files change.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'

/**
 * Ciphers with forward secrecy and authenticated encryption, as in ops/nginx/start.sh; the cheapest for the server
 * first.
 */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20'
const POLICY = { minVersion: 'TLSv1.2', ciphers: CIPHERS, honorCipherOrder: true } as const
const LOOK_EVERY_MS = 5000
const WEEK_MS = 7 * 86_400_000

export interface CertificateFiles {
  readonly certFile: string
  readonly keyFile: string
}

interface Log {
  readonly info: (data: object, text: string) => void
  readonly warn: (data: object, text: string) => void
}

/** The part of a TLS server that is needed here. */
interface Server {
  readonly setSecureContext: (options: SecureContextOptions) => void
}

function readPem (setting: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new Error(`${setting}: "${path}" cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`)
  }
}

interface Pair {
  readonly context: SecureContextOptions
  readonly validFrom: Date
  readonly validTo: Date
}

/** Reads and checks the files. Throws an Error with a sentence that names the setting and never quotes the key. */
function readFiles ({ certFile, keyFile }: CertificateFiles): Pair {
  const cert = readPem('TLS_CERT_FILE', certFile)
  const key = readPem('TLS_KEY_FILE', keyFile)
  let first: X509Certificate
  try {
    first = new X509Certificate(cert)
  } catch {
    throw new Error(`TLS_CERT_FILE: "${certFile}" holds no certificate; it must be PEM, the node's own certificate first and its chain after it`)
  }
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(key)
  } catch {
    throw new Error(`TLS_KEY_FILE: "${keyFile}" holds no private key that can be read; it must be PEM and have no passphrase`)
  }
  if (!first.checkPrivateKey(privateKey)) {
    throw new Error(`TLS_KEY_FILE: the key in "${keyFile}" does not fit the first certificate in "${certFile}"`)
  }
  const context = { ...POLICY, cert, key }
  try {
    createSecureContext(context)
  } catch (error) {
    throw new Error(`TLS_CERT_FILE: "${certFile}" cannot be used (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`)
  }
  return { context, validFrom: new Date(first.validFrom), validTo: new Date(first.validTo) }
}

/** A sentence that says what is wrong with the files; undefined if nothing is. */
export function certificateFault (files: CertificateFiles): string | undefined {
  try {
    readFiles(files)
  } catch (error) {
    return (error as Error).message
  }
}

/** Why browsers refuse the certificate by its dates; undefined if they do not. */
function dateFault ({ validFrom, validTo }: Pair, nowMs: number): string | undefined {
  if (nowMs < validFrom.getTime()) return `is not valid before ${validFrom.toISOString()}`
  return nowMs > validTo.getTime() ? `has ended at ${validTo.toISOString()}` : undefined
}

interface FollowOptions {
  readonly signal: AbortSignal
  readonly everyMs?: number
  /** Milliseconds since 1970: certificates carry dates. */
  readonly wallMs?: () => number
}

export class Certificate {
  readonly #files: CertificateFiles
  #current: Pair
  /**
   * What was wrong at the last check. While two files are being replaced, they do not match for a moment, so a fault is
   * logged only if the next check finds it too.
   */
  #fault: string | undefined
  #logged: string | undefined
  /** What was last logged of the end of the current certificate. */
  #ending: 'soon' | 'ended' | undefined
  #look: (() => void) | undefined

  /** Throws an Error with a sentence if the files cannot be used. */
  constructor (files: CertificateFiles) {
    this.#files = files
    this.#current = readFiles(files)
  }

  /** Options for `createServer`. */
  get context (): SecureContextOptions {
    return this.#current.context
  }

  /** Applies changes of the files until `signal` is aborted. Open connections keep the old certificate. */
  follow (server: Server, log: Log, { signal, everyMs = LOOK_EVERY_MS, wallMs = () => new Date().getTime() }: FollowOptions): void {
    this.#look = () => {
      this.#compare(server, log, wallMs())
      this.#warnOfEnd(log, wallMs())
    }
    // Not fs.watch: renewals replace a link or a whole folder (Kubernetes), and it would go on watching the old file.
    const timer = setInterval(this.#look, everyMs).unref()
    signal.addEventListener('abort', () => { clearInterval(timer) })
    this.#warnOfEnd(log, wallMs())
  }

  /** Checks the files now. */
  look (): void {
    this.#look?.()
  }

  #compare (server: Server, log: Log, nowMs: number): void {
    try {
      const next = readFiles(this.#files)
      const { cert, key } = this.#current.context
      const isNew = !(next.context.cert as Buffer).equals(cert as Buffer) || !(next.context.key as Buffer).equals(key as Buffer)
      const fault = dateFault(next, nowMs)
      if (isNew && fault !== undefined && dateFault(this.#current, nowMs) === undefined) throw new Error(`TLS_CERT_FILE: the certificate in "${this.#files.certFile}" ${fault}`)
      this.#fault = this.#logged = undefined
      if (!isNew) return
      server.setSecureContext(next.context)
      this.#current = next
      this.#ending = undefined
      log.info({ validTo: next.validTo.toISOString() }, 'a new certificate is used from now on')
    } catch (error) {
      const { message } = error as Error
      if (message === this.#fault && message !== this.#logged) {
        this.#logged = message
        log.warn({ reason: message }, 'the new certificate cannot be used; the old one stays until TLS_CERT_FILE and TLS_KEY_FILE fit')
      }
      this.#fault = message
    }
  }

  /** A node runs for months, so this is asked at each look; each of both is logged once. */
  #warnOfEnd (log: Log, nowMs: number): void {
    const { validTo } = this.#current
    const leftMs = validTo.getTime() - nowMs
    const ending = leftMs < 0 ? 'ended' : leftMs < WEEK_MS ? 'soon' : undefined
    if (ending === undefined || ending === this.#ending) return
    this.#ending = ending
    if (ending === 'ended') log.warn({ validTo: validTo.toISOString() }, 'the certificate has ended; browsers refuse it until TLS_CERT_FILE is renewed')
    else log.warn({ validTo: validTo.toISOString() }, 'the certificate ends within a week; renew TLS_CERT_FILE')
  }
}
