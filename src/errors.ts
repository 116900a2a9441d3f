// Every error that a client can see: its code, HTTP status, and a sentence that says what to do.
import { format } from 'node:util'

const table = {
  TIDINGS_TOKEN_MISSING: [401, 'No token. Send it as "Authorization: Bearer <token>" or in the cookie that TOKEN_COOKIE names.'],
  TIDINGS_TOKEN_INVALID: [401, 'The token is not valid: %s. Get a new one from the service that signs you in.'],
  TIDINGS_TOKEN_NOT_YET: [401, 'The token is not valid before %s. Try again then, or set the clock of the service that signs you in.'],
  TIDINGS_TOKEN_EXPIRED: [401, 'The token has expired. Get a new one and connect again.'],
  TIDINGS_TOKEN_REVOKED: [401, 'The user has logged out since this token was issued. Sign in again.'],
  TIDINGS_BAD_TICKET: [401, 'The ticket is unknown, older than 30 s, or was used by somebody else. Get a new one with POST /api/notifications/tickets.'],
  TIDINGS_CROSS_SITE: [403, 'The token came in a cookie, from a page of another origin. Add that origin to CORS_ORIGINS, or send the token as a header. If the origin is this service\'s own, a proxy in front ends TLS or changes Host: name the proxy in TRUST_PROXY.'],
  TIDINGS_SCOPE_MISSING: [403, 'The token lacks the scope "%s". Ask for a token that carries it.'],
  TIDINGS_NOT_YOUR_STREAM: [403, 'A stream and an inbox belong to the user of the token. Ask without a user id, or with your own.'],
  TIDINGS_TOO_MANY_STREAMS: [403, 'This user already has %s streams on this node. Close a tab, or raise MAX_STREAMS_PER_USER.'],
  TIDINGS_BAD_REQUEST: [400, 'The request is not valid: %s.'],
  TIDINGS_BAD_JSON: [400, 'The body is not valid JSON. Send one JSON object with Content-Type: application/json.'],
  TIDINGS_BAD_ADDRESS: [400, 'Not an address: %s. Use user:<userId>, group:<name> or all; ids and names have 1 to 128 characters and no control characters.'],
  TIDINGS_BAD_NAME: [400, 'Not a valid %s. Use 1 to 128 characters and no control characters.'],
  TIDINGS_BAD_EVENT: [400, 'Not an event name: %s. Use 1 to 64 characters out of A-Z a-z 0-9 . _ -'],
  TIDINGS_RESERVED_EVENT: [400, 'The event name "%s" is reserved for the stream itself. Choose another.'],
  TIDINGS_DATA_TOO_DEEP: [400, 'data nests deeper than 1000 levels. Flatten it, or send it as a string.'],
  TIDINGS_BAD_IDEMPOTENCY_KEY: [400, 'Idempotency-Key must be 1 to 255 visible ASCII characters.'],
  TIDINGS_BAD_KEEP: [400, 'Not a value for keep: %s. Use inbox, replay or none.'],
  TIDINGS_BAD_TTL: [400, 'ttl must be a whole number of seconds from 1 to HISTORY_SECONDS (%s).'],
  TIDINGS_BAD_KEY: [400, 'Not a key. Use 1 to 128 characters and no control characters.'],
  TIDINGS_BAD_POSITION: [400, 'Not a position: %s. Send an id or a position from this service, as a string, and none from the future.'],
  TIDINGS_TOO_MANY_GROUPS: [400, 'A user may be in at most %s groups. Leave some, or address the user directly.'],
  TIDINGS_NOT_FOUND: [404, 'There is nothing at %s. See /docs for the routes.'],
  TIDINGS_NO_NOTIFICATION: [404, 'There is no such notification in this inbox. It may have expired, been replaced, taken back or dismissed.'],
  TIDINGS_TOO_MANY_MARKS: [409, 'More than %s notifications are marked one by one. Move the cursor with PUT /api/notifications/read, which clears their marks.'],
  TIDINGS_METHOD_NOT_ALLOWED: [405, 'This path does not take the method %s. The Allow header lists the methods that it takes.'],
  TIDINGS_DATA_TOO_LARGE: [413, 'data has %s bytes, more than MAX_DATA_BYTES (%s). Send less, or send a link.'],
  TIDINGS_FAN_OUT_TOO_LARGE: [413, '%s addresses times %s bytes of data are more than %s bytes. Divide the addresses among several publishes, or send a link.'],
  TIDINGS_BODY_TOO_LARGE: [413, 'The body is larger than this route takes. Send fewer addresses or names, or less data.'],
  TIDINGS_UNSUPPORTED_MEDIA_TYPE: [415, 'The body must be JSON, and not compressed. Send Content-Type: application/json, and no Content-Encoding.'],
  TIDINGS_TOO_MANY_REQUESTS: [429, 'More than %s %s in a minute. Wait as long as Retry-After says, or raise %s.'],
  TIDINGS_HEADERS_TOO_LARGE: [431, 'The request headers are too large. Send less than 16 KB.'],
  TIDINGS_BUSY: [503, 'This node takes no streams at the moment. Ask another node, or come back later.'],
  TIDINGS_KEYS_UNAVAILABLE: [503, 'The key of the token is not known, and the key server (JWKS_URL) does not answer at the moment. Try again.'],
  TIDINGS_UNAVAILABLE: [503, 'The broker cannot be reached, or takes no writes; nothing was stored. Try again with the same Idempotency-Key.'],
  TIDINGS_UNCERTAIN: [503, 'The broker gave no answer, or a wrong one, so the request may or may not have been carried out. Try again with the same Idempotency-Key.'],
  TIDINGS_INTERNAL: [500, 'The node failed; its log says why. Try again.']
} as const satisfies Record<string, readonly [status: number, message: string]>

export type ErrorCode = keyof typeof table

/** The whole table, for the OpenAPI page, the documentation and their tests. */
export const errorTable: Readonly<Record<ErrorCode, readonly [status: number, message: string]>> = table

/** An error of the table. `parts` replace each `%s` of its sentence. */
export class TidingsError extends Error {
  override readonly name = 'TidingsError'
  readonly code: ErrorCode
  readonly statusCode: number
  /** Distinguishes causes with the same code in the metrics. */
  reason: string | undefined

  constructor (code: ErrorCode, ...parts: unknown[]) {
    const [statusCode, message] = table[code]
    super(format(message, ...parts))
    this.code = code
    this.statusCode = statusCode
  }

  because (reason: string): this {
    this.reason = reason
    return this
  }
}
