// The programs of examples/clients: how each is started. `docs/clients.md` has a row for each reader.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const built = fileURLToPath(new URL('../../node_modules/.cache/clients', import.meta.url))
const at = (...parts: string[]): string => join(built, ...parts)
const java = (main: string): string[] => ['java', '-cp', [at('java/target/classes'), at('java/target/dependency/*')].join(':'), main]
const python = (file: string): string[] => [at('python/venv/bin/python'), at('python', file)]

/** Name of the library, as in docs/clients.md → command line. */
export const readers: Record<string, string[]> = {
  'requests + sseclient-py': python('read_requests.py'),
  'httpx + httpx-sse': python('read_httpx.py'),
  'launchdarkly-eventsource (Python)': python('read_launchdarkly.py'),
  'r3labs/sse': [at('go/bin/r3labs')],
  'tmaxmax/go-sse': [at('go/bin/tmaxmax')],
  'launchdarkly/eventsource (Go)': [at('go/bin/launchdarkly')],
  'okhttp-sse': java('ReadOkHttp'),
  'okhttp-eventsource': java('ReadLaunchDarkly'),
  'Spring WebClient': java('ReadWebClient'),
  'reqwest-eventsource': [at('rust/target/debug/read_reqwest_eventsource')],
  'eventsource-client (Rust)': [at('rust/target/debug/read_eventsource_client')],
  'eventsource (npm)': ['node', at('javascript/eventsource.mjs')],
  'eventsource-client (npm)': ['node', at('javascript/eventsource-client.mjs')],
  '@microsoft/fetch-event-source': ['node', at('javascript/fetch-event-source.mjs')],
  'net/http in Ruby': ['ruby', at('ruby/read.rb')],
  'HttpClient in C#': ['mono', at('csharp/Read.exe')],
  'curl in PHP': ['php', at('php/read.php')],
  'curl in a shell': [at('shell/read.sh')]
}

/** Language, as in docs/clients.md → command line. */
export const publishers: Record<string, string[]> = {
  Python: python('publish.py'),
  Go: [at('go/bin/publish')],
  Java: java('Publish'),
  Rust: [at('rust/target/debug/publish')],
  JavaScript: ['node', at('javascript/publish.mjs')],
  Ruby: ['ruby', at('ruby/publish.rb')],
  'C#': ['mono', at('csharp/Publish.exe')],
  PHP: ['php', at('php/publish.php')],
  Shell: [at('shell/publish.sh')]
}

/** Those of docs/publishing.md: file in examples/clients → command line. */
export const partitioned: Record<string, string[]> = {
  'python/partitions.py': python('partitions.py'),
  'go/partitions/main.go': [at('go/bin/partitions')],
  'shell/partitions.sh': [at('shell/partitions.sh')]
}

/** Every program that stands in examples/clients, by the part of its name that a command line holds. */
export function sources (): string[] {
  const root = fileURLToPath(new URL('../../examples/clients', import.meta.url))
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => /\.(py|go|java|rs|mjs|rb|cs|php|sh)$/.test(file) && !/target|node_modules|venv/.test(file))
}
