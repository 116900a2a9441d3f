// The certificate of a node that ends TLS itself: read, checked, and read again when its files have changed.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'

/**
 * Forward secrecy and authenticated encryption, as in ops/nginx/start.sh; the cheapest that browsers have stands first.
 */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20'
const POLICY = { minVersion: 'TLSv1.2', ciphers: CIPHERS, honorCipherOrder: true } as const
const LOOK_EVERY_MS = 5000
const DAY_MS = 86_400_000

export interface CertificateFiles {
  readonly certFile: string
  readonly keyFile: string
}

interface Log {
  readonly info: (data: object, text: string) => void
  readonly warn: (data: object, text: string) => void
}

/** What `setSecureContext` changes; a server has it. */
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

/**
 * What the files hold, if it is of use. Throws an Error with a sentence that names the setting and never what is in the
 * key.
 */
function readFiles ({ certFile, keyFile }: CertificateFiles): { context: SecureContextOptions, validTo: Date } {
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
  return { context, validTo: new Date(first.validTo) }
}

/** A sentence on what is wrong with the files; undefined: nothing. */
export function certificateFault (files: CertificateFiles): string | undefined {
  try {
    readFiles(files)
  } catch (error) {
    return (error as Error).message
  }
}

export class Certificate {
  readonly #files: CertificateFiles
  #current: ReturnType<typeof readFiles>
  /** What was wrong at the last look: a pair of files that is being replaced does not fit for a moment. */
  #fault: string | undefined
  #told: string | undefined
  #look: (() => void) | undefined

  /** Throws an Error with a sentence. */
  constructor (files: CertificateFiles) {
    this.#files = files
    this.#current = readFiles(files)
  }

  /** For `createServer`. */
  get context (): SecureContextOptions {
    return this.#current.context
  }

  /** Follows the files until `signal` is aborted. Connections that are open keep what they have. */
  follow (server: Server, log: Log, { signal, everyMs = LOOK_EVERY_MS }: { signal: AbortSignal, everyMs?: number }): void {
    this.#look = () => { this.#compare(server, log) }
    // Not fs.watch: a renewal swaps a link or a whole folder (Kubernetes), and what is watched would be the old file.
    const timer = setInterval(this.#look, everyMs).unref()
    signal.addEventListener('abort', () => { clearInterval(timer) })
    this.#warnOfEnd(log)
  }

  /** Looks now, and does not wait for its turn. */
  look (): void {
    this.#look?.()
  }

  #compare (server: Server, log: Log): void {
    try {
      const found = readFiles(this.#files)
      this.#fault = this.#told = undefined
      const { cert, key } = this.#current.context
      if ((found.context.cert as Buffer).equals(cert as Buffer) && (found.context.key as Buffer).equals(key as Buffer)) return
      server.setSecureContext(found.context)
      this.#current = found
      log.info({ validTo: found.validTo.toISOString() }, 'a new certificate is used from now on')
      this.#warnOfEnd(log)
    } catch (error) {
      const { message } = error as Error
      if (message === this.#fault && message !== this.#told) {
        this.#told = message
        log.warn({ reason: message }, 'the new certificate cannot be used; the old one stays until TLS_CERT_FILE and TLS_KEY_FILE fit')
      }
      this.#fault = message
    }
  }

  #warnOfEnd (log: Log): void {
    const { validTo } = this.#current
    const days = Math.floor((validTo.getTime() - new Date().getTime()) / DAY_MS)
    if (days < 0) log.warn({ validTo: validTo.toISOString() }, 'the certificate has ended; browsers refuse it until TLS_CERT_FILE is renewed')
    else if (days < 7) log.warn({ validTo: validTo.toISOString() }, 'the certificate ends within a week; renew TLS_CERT_FILE')
  }
}
