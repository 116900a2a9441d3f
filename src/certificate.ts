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
const DAY_MS = 86_400_000

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

/** Reads and checks the files. Throws an Error with a sentence that names the setting and never quotes the key. */
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

/** A sentence that says what is wrong with the files; undefined if nothing is. */
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
  /**
   * What was wrong at the last check. While two files are being replaced, they do not match for a moment, so a fault is
   * logged only if the next check finds it too.
   */
  #fault: string | undefined
  #logged: string | undefined
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
  follow (server: Server, log: Log, { signal, everyMs = LOOK_EVERY_MS }: { signal: AbortSignal, everyMs?: number }): void {
    this.#look = () => { this.#compare(server, log) }
    // Not fs.watch: renewals replace a link or a whole folder (Kubernetes), and it would go on watching the old file.
    const timer = setInterval(this.#look, everyMs).unref()
    signal.addEventListener('abort', () => { clearInterval(timer) })
    this.#warnOfEnd(log)
  }

  /** Checks the files now. */
  look (): void {
    this.#look?.()
  }

  #compare (server: Server, log: Log): void {
    try {
      const next = readFiles(this.#files)
      this.#fault = this.#logged = undefined
      const { cert, key } = this.#current.context
      if ((next.context.cert as Buffer).equals(cert as Buffer) && (next.context.key as Buffer).equals(key as Buffer)) return
      server.setSecureContext(next.context)
      this.#current = next
      log.info({ validTo: next.validTo.toISOString() }, 'a new certificate is used from now on')
      this.#warnOfEnd(log)
    } catch (error) {
      const { message } = error as Error
      if (message === this.#fault && message !== this.#logged) {
        this.#logged = message
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
