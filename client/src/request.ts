// How the service is asked: who speaks for the user, and how long an answer may take.
import type { Credentials } from './api.ts'
import { ANSWER_MS } from './limits.ts'

/** What the page's own function gives, or an error after a while. */
export async function within <T> (give: () => T | Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  try {
    return await Promise.race([give(), new Promise<never>((_resolve, reject) => { timer = setTimeout(reject, ANSWER_MS) })])
  } finally {
    clearTimeout(timer)
  }
}

/** A token or a ticket, if it is what it should be. */
export async function ask (give: () => Promise<string>): Promise<string> {
  const text: unknown = await within(give)
  if (text && typeof text === 'string') return text
  const error = new TypeError('token() and ticket() must give a string')
  reportError(error)
  throw error
}

/** What `fetch` needs so that the service knows the user. */
export async function speakFor ({ token, ticket }: Credentials, headers: Record<string, string> = {}): Promise<RequestInit> {
  const give = token ?? ticket
  if (!give) return { headers, credentials: 'include' }
  return { headers: { ...headers, authorization: `${token ? 'Bearer' : 'Ticket'} ${await ask(give)}` }, credentials: 'omit' }
}

export function parse (text: string): any {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** One request and its JSON answer. Throws for what is not 2xx, with `code` and `statusCode` as the service says. */
export async function request (credentials: Credentials, url: string, method: string, body?: object): Promise<any> {
  const init = await speakFor(credentials, body && { 'content-type': 'application/json' })
  const response = await fetch(url, { ...init, method, body: JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MS) })
  const answer = parse(await response.text())
  // A proxy's own page may come with 200.
  if (!response.ok || typeof answer === 'string') {
    throw Object.assign(new Error(answer?.message ?? response.status), { code: answer?.code, statusCode: response.status })
  }
  return answer
}
