// Asks a node why somebody did, or did not, get a notification: npm run why -- --user 42 --id 1763794001222333
import { escapeUnsafe } from '../src/unsafe-text.ts'
import { help, parse } from './command-line.ts'

const usage = `Usage: TIDINGS_TOKEN=… npm run why -- --user <userId> --id <id> [options]

  --user <userId>   who did not get it (required)
  --id <id>         the notification, as publishing answered (required)
  --url <url>       any node, or what stands in front, with its path if it has one (http://127.0.0.1:3000)
  --json            the whole evidence as JSON

TIDINGS_TOKEN holds a token with the scope notifications:manage.`

interface Answer {
  verdict: string
  sentence: string
  publishedAt: string
  addresses: Array<{ to: string, state: string, at?: string }>
  streams: Array<{ stream: string, node: string, outcome: string, at?: string, ended?: string }>
  receipts: string
}

function read () {
  try {
    return parse(process.argv.slice(2), {
      user: { type: 'string' },
      id: { type: 'string' },
      url: { type: 'string', default: 'http://127.0.0.1:3000' },
      json: { type: 'boolean', default: false },
      help
    }).values
  } catch (error) {
    return `${(error as Error).message}.`
  }
}

/** Names of groups may steer a terminal. */
function say (text: string): void {
  console.log(escapeUnsafe(text))
}

function fail (text: string): void {
  console.error(escapeUnsafe(text))
  process.exitCode = 1
}

function print ({ verdict, sentence, publishedAt, addresses, streams, receipts }: Answer): void {
  say(`${verdict}: ${sentence}\n\npublished  ${publishedAt}`)
  for (const { to, state, at = '' } of addresses) say(`address    ${to}  ${state}  ${at}`.trimEnd())
  for (const { stream, node, outcome, at = '', ended } of streams) {
    say(`stream     ${stream} on ${node}  ${outcome}  ${at}${ended === undefined ? '' : `  (ended: ${ended})`}`)
  }
  say(`receipts   ${receipts}`)
}

/** Undefined if it is not that of a node: a proxy answers with a page, say. */
function parseAnswer (text: string): Answer & { code?: string, message?: string } | undefined {
  try {
    const body = JSON.parse(text)
    return typeof body?.verdict === 'string' || typeof body?.code === 'string' ? body : undefined
  } catch {
    return undefined
  }
}

async function ask (url: string, user: string, id: string, token: string, isJson: boolean): Promise<void> {
  // Nodes may be mounted under a path (/tidings), as the browser module's `url` says too.
  const address = new URL(url)
  address.pathname = `${address.pathname.replace(/\/+$/, '')}/api/users/${encodeURIComponent(user)}/why`
  address.search = `?id=${encodeURIComponent(id)}`
  address.hash = ''
  const answer = await fetch(address, { headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(10_000) })
  const body = parseAnswer(await answer.text())
  if (body === undefined) fail(`${url} answers ${answer.status}, but not as a node does; is --url that of one, or of what stands in front?`)
  else if (answer.status !== 200) fail(`${answer.status} ${body.code ?? ''}: ${body.message ?? ''}`)
  else if (isJson) say(JSON.stringify(body, null, 2))
  else print(body)
}

const given = read()
const token = process.env.TIDINGS_TOKEN?.trim() ?? ''
if (typeof given === 'string') fail(`${given}\n\n${usage}`)
else if (given.help) console.log(usage)
else if (given.user === undefined || given.id === undefined) fail(`--user and --id are needed.\n\n${usage}`)
else if (token === '') fail(`TIDINGS_TOKEN is not set.\n\n${usage}`)
// Without -s, "npm run token" prints more than the token. fetch would quote it in its error.
else if (!/^[!-~]+$/.test(token)) fail('TIDINGS_TOKEN must be a token and nothing else, in one line; "npm run -s token" prints such.')
else if (!/^https?:/i.test(given.url) || !URL.canParse(given.url)) fail(`--url must be a URL, as http://127.0.0.1:3000, not ${JSON.stringify(given.url)}.`)
// fetch takes none, and would quote them in its error.
else if (new URL(given.url).username !== '' || new URL(given.url).password !== '') fail('--url must have no user and no password; ask a node itself.')
else await ask(given.url, given.user, given.id, token, given.json).catch((error: Error & { cause?: Error }) => { fail(`${given.url} does not answer: ${error.cause?.message ?? error.message}`) })
