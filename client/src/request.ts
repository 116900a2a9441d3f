// Requests to the service: adds the user's credentials, and limits how long an answer may take.
import type { Credentials } from './api.ts'
import { ANSWER_MS } from './limits.ts'

/** Calls a function of the page. Resolves with undefined if it takes longer than ANSWER_MS. */
export function within <T> (give: () => T | Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined
  return Promise.race([give(), new Promise<undefined>((resolve) => { timer = setTimeout(resolve, ANSWER_MS) })]).finally(() => { clearTimeout(timer) })
}

/** Gets a token or a ticket from the page. Rejects if it is no string. */
export async function ask (give: () => Promise<string>): Promise<string> {
  const text: unknown = await within(give)
  if (typeof text === 'string' && text) return text
  const error = new Error('no credentials')
  reportError(error)
  throw error
}

/** Options for `fetch` with the user's credentials. */
export async function speakFor ({ token, ticket }: Credentials, headers: Record<string, string>): Promise<RequestInit> {
  const give = token ?? ticket
  if (give) headers['authorization'] = `${token ? 'Bearer' : 'Ticket'} ${await ask(give)}`
  return { headers, credentials: give ? 'omit' : 'include' }
}

export function parse (text: string): any {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/**
 * Sends a request and resolves with its JSON answer. Rejects if that is not 2xx, with the service's `code` and
 * `statusCode`.
 */
export async function request (options: Credentials & { readonly user?: string | undefined }, url: string, method: string, body?: object): Promise<any> {
  // The cookie may belong to another user by now. The service then refuses the request.
  const init = {
    ...await speakFor(options, { ...body && { 'content-type': 'application/json' }, ...options.user && { 'tidings-user': encodeURIComponent(options.user) } }),
    body: JSON.stringify(body),
    method,
    signal: AbortSignal.timeout(ANSWER_MS)
  }
  // Kept alive, since a click on a notification often leaves the page, too. Browsers keep about 250 requests of a page
  // at once, and refuse more. After a fault of the network it is a second attempt, which changes nothing if the first
  // arrived.
  const response = await fetch(url, { ...init, keepalive: true }).catch(() => fetch(url, init))
  const answer = parse(await response.text())
  // A proxy may answer 200 with a page of its own.
  if (typeof answer === 'string' || !response.ok) {
    throw Object.assign(new Error(answer?.message ?? response.status), { statusCode: response.status, code: answer?.code })
  }
  return answer
}
