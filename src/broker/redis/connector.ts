// Opens the socket of a connection to Redis.
import { connect as connectPlain } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { AbstractConnector, type RedisOptions } from 'ioredis'

/** How long a socket that is given up may take to close: what comes until then can tell why it did not connect. */
const CLOSING_MS = 2000

/**
 * The client library's own connector listens for one error of a socket. A second one would end the process, such as the
 * TLS alert of a server that saw the handshake break off.
 */
export class Connector extends AbstractConnector {
  readonly #options: RedisOptions

  /** `options`: those of the connection, which the client library passes. */
  constructor (options: unknown) {
    super(CLOSING_MS)
    this.#options = options as RedisOptions
  }

  connect (): ReturnType<AbstractConnector['connect']> {
    const { host = 'localhost', port = 6379, family = 0, tls } = this.#options
    const target = { host, port, family }
    this.stream = tls === undefined ? connectPlain(target) : connectTls({ ...target, ...tls })
    this.stream.on('error', (error) => {
      // Of a host with several addresses (localhost, most often) the reasons stand in a list, and the message is empty.
      if (error instanceof AggregateError) error.message ||= error.errors.map(({ message }: Error) => message).join(', ')
      this.firstError = error
    })
    return Promise.resolve(this.stream)
  }
}
