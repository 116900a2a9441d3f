// Schemas that several routes share.
import Type from 'typebox'
import { errorTable } from '../errors.ts'

const ErrorBody = Type.Object({
  statusCode: Type.Integer(),
  code: Type.String(),
  error: Type.String(),
  message: Type.String()
})

/** The responses section of a route: for each status the codes that it may carry. */
export function errorResponses (...statuses: number[]): Record<number, typeof ErrorBody> {
  return Object.fromEntries(statuses.map((status) => {
    const codes = Object.entries(errorTable).filter(([, [s]]) => s === status).map(([code]) => code)
    return [status, { ...ErrorBody, description: codes.join(', ') }]
  }))
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

/** A response that is not JSON. */
export function content (type: string, example: string, description: string): object {
  return { description, content: { [type]: { schema: Type.String({ examples: [example] }) } } }
}
