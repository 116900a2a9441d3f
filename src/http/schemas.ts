// Schemas that several routes share.
import Type from 'typebox'
import { type ErrorCode, errorTable, TidingsError } from '../errors.ts'
import { bodyOf } from './errors.ts'

const ErrorBody = Type.Object({
  statusCode: Type.Integer({ description: 'The HTTP status.' }),
  code: Type.String({ description: 'What happened. Each answer lists the codes that it may have; later versions may have more.' }),
  error: Type.String({ description: 'The name of the HTTP status.' }),
  message: Type.String({ description: 'What to do, for the developer.' })
}, { title: 'ErrorBody' })

type Codes = readonly ErrorCode[]

/**
 * Not of a route: no Host, or a path that is not well encoded; the other port of OPS_PORT; the limit of an address; the
 * HTTP parser; a fault of the node.
 */
const ANY_ROUTE: Codes = ['TIDINGS_BAD_REQUEST', 'TIDINGS_NOT_FOUND', 'TIDINGS_TOO_MANY_REQUESTS', 'TIDINGS_HEADERS_TOO_LARGE', 'TIDINGS_INTERNAL']
/** The rest of them is answered 200, since any other status would end an EventSource for good. */
const ANY_STREAM: Codes = ['TIDINGS_BAD_REQUEST', 'TIDINGS_NOT_FOUND', 'TIDINGS_INTERNAL']

/**
 * The error responses of a route: for each status the codes that the route can answer, with an example of each. What
 * throws them beside the route has a list of its own. `default` has what any route can answer with another status.
 */
export function errorResponses (...codes: Array<ErrorCode | Codes>): Record<number, typeof ErrorBody> {
  return responsesOf(codes.flat() as ErrorCode[], ANY_ROUTE)
}

export function streamErrorResponses (...codes: Array<ErrorCode | Codes>): Record<number, typeof ErrorBody> {
  return responsesOf(codes.flat() as ErrorCode[], ANY_STREAM)
}

function responsesOf (codes: Codes, anyRoute: Codes): Record<number, typeof ErrorBody> {
  const statuses = new Set(codes.map((code) => errorTable[code][0]))
  const all = new Set([...anyRoute, ...codes])
  const listed = Object.keys(errorTable).filter((code) => all.has(code as ErrorCode)) as ErrorCode[]
  const rest = listed.filter((code) => !statuses.has(errorTable[code][0]))
  return {
    ...Object.fromEntries([...statuses].map((status) => [status, errorResponse(listed.filter((code) => errorTable[code][0] === status), '', status)])),
    default: errorResponse(rest, 'What any route may answer: ')
  } as Record<number, typeof ErrorBody>
}

function errorResponse (codes: Codes, before: string, status?: number): typeof ErrorBody {
  const examples = Object.fromEntries(codes.map((code) => [code, { value: bodyOf(new TidingsError(code, '…', '…', '…')) }]))
  return {
    description: `${before}${codes.join(', ')}`,
    ...(status === 429 || status === 503) && { headers: { 'retry-after': Type.Integer({ description: 'Seconds.' }) } },
    content: { 'application/json': { schema: ErrorBody, examples } }
  } as unknown as typeof ErrorBody // which is what the handlers' types need of it
}

/** Parameters in paths. */
export const UserIdText = Type.String({ description: 'A user id.', examples: ['42'] })
export const GroupNameText = Type.String({ description: 'The name of a group.', examples: ['Complaints'] })

/** Routes for services: a token in a header. */
export const bearer = [{ bearer: [] }]
/** Routes for users: the token may also come in the cookie TOKEN_COOKIE. */
export const bearerOrCookie = [{ bearer: [] }, { cookie: [] }]
/** The streams: a one-time ticket as well. */
export const bearerCookieOrTicket = [...bearerOrCookie, { ticket: [] }]

/** The inbox: a one-time ticket as a header. */
export const bearerCookieOrTicketHeader = [...bearerOrCookie, { ticketHeader: [] }]

/** A response that is not JSON: its content types, with an example of each. */
export function content (examples: Readonly<Record<string, string>>, description: string): object {
  const types = Object.entries(examples).map(([type, example]) => [type, { schema: Type.String({ examples: [example] }) }])
  return { description, content: Object.fromEntries(types) }
}
