// One look (neostandard), no promise left alone, and the map of the code: who may import whom, and who may touch what.
import neostandard, { plugins, resolveIgnoresFromGitignore } from 'neostandard'

// server → app → http → hub → notification; adapters point at the port. Each part of that sentence, as import
// specifiers. Only relative ones are meant: a package may be called what it likes.
const the = {
  tools: { regex: '^\\.\\..*/(test|bench|chaos|scripts|demo)/', message: 'What runs in production does not import tests, benchmarks, scripts or the demo.' },
  edge: { regex: '^\\..*/(server|start|health)\\.ts$', message: 'server.ts, start.ts and health.ts are the edge of the process; nobody imports them.' },
  app: { regex: '^\\..*/app\\.ts$', message: 'app.ts puts the service together; only the edge (start.ts, demo/) imports it.' },
  http: { regex: '^\\..*/http/', message: 'http/ stands above: it calls the hub, the hub never calls it.' },
  hub: { regex: '^\\..*/hub/', message: 'hub/ stands above: notification.ts and brokers know nothing of connections.' },
  config: { regex: '^\\..*/config\\.ts$', message: 'Take what you need as an argument; only the edge, app.ts, http/ and hub/ know Config.' },
  broker: { regex: '^\\..*/broker/', message: 'notification.ts and errors.ts are at the bottom: they import nothing of ours.' },
  adapters: { regex: '^\\..*/broker/(?!(broker|inbox|listener|meters|state|trail)\\.ts$)', message: 'Use the port, the files of broker/ itself; only start.ts and demo/ choose an adapter.' },
  otherAdapters: { regex: '^\\.\\.?/(memory|redis)/', message: 'Adapters share the port, broker.ts, not each other.' }
}
const client = { regex: '^ioredis(/|$)', message: 'Redis is behind the port: ioredis is for src/broker/redis/ alone.' }
const processModule = { regex: '^(node:)?process$', message: 'Environment, signals and exit are the edge\'s: server.ts, start.ts, health.ts, demo/ and scripts/.' }

const edgeFiles = ['src/server.ts', 'src/start.ts', 'src/health.ts']

const imports = (...patterns) => ({ 'no-restricted-imports': ['error', { patterns }] })

// The raw response and its socket, by the names of their types.
const rawTypes = {
  selector: 'ImportDeclaration[source.value=/^(node:)?(http|net|https|http2|tls)$/] ImportSpecifier[imported.name=/^(ServerResponse|Socket|OutgoingMessage)$/]',
  message: 'The raw response and its socket are for src/hub/line.ts and src/http/event-stream.ts alone (and what is no request yet, or none: src/http/door.ts, src/http/unrouted.ts).'
}

// The wall clock is set ahead and back, and that of another machine shows another time.
const wallClock = { object: 'Date', property: 'now', message: 'What lasts, ages or is due is measured by performance.now(). A date, such as a token\'s, is read in the files that eslint.config.js lists.' }
/** A token's dates; what is told of clocks that differ, of latency since an id; spans; the embedded broker's ids. */
const wallClockFiles = [
  'src/hub/clock.ts', 'src/spans.ts', 'src/http/auth.ts', 'src/http/claims.ts', 'src/http/admission.ts', 'src/http/ticket-store.ts', 'src/http/metrics.ts', 'src/http/exemplars.ts',
  'src/broker/memory/bus.ts', 'src/broker/redis/commands.ts', 'src/broker/redis/partitions/directory.ts'
]

// no-restricted-imports reads import and export declarations only; these are the ways around it.
const hiddenImports = {
  selector: 'ImportExpression, TSImportType',
  message: 'Import at the top of the file, where the rule of who imports whom is checked.'
}
const rawResponse = {
  selector: 'MemberExpression[property.name="raw"]:not([object.name="String"]), MemberExpression[property.value="raw"], ObjectPattern > Property[key.name="raw"]',
  message: 'The raw response is for src/hub/line.ts and src/http/event-stream.ts alone.'
}

const sentences = { ignoreUrls: true, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true }

const browserGlobals = neostandard({ env: ['browser'] }).find(({ name }) => name === 'neostandard/globals').languageOptions.globals

export default [
  ...neostandard({ ts: true, ignores: [...resolveIgnoresFromGitignore(), 'client/dist/**'] }),
  {
    rules: {
      'max-lines': ['error', 300],
      // "void" says that nobody waits for a promise here, on purpose.
      'no-void': ['error', { allowAsStatement: true }],
      // It does not see that a callback changes the variable while the loop awaits.
      'no-unmodified-loop-condition': 'off'
    }
  },
  {
    name: 'tidings/pages',
    files: ['demo/*.js', 'test/fixtures/*.js'],
    languageOptions: { globals: browserGlobals }
  },
  {
    name: 'tidings/promises',
    files: ['**/*.ts'],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname }
    },
    plugins: { '@typescript-eslint': plugins['typescript-eslint'].plugin },
    rules: {
      // tap itself waits for a subtest.
      '@typescript-eslint/no-floating-promises': ['error', {
        allowForKnownSafePromises: [{ from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' }]
      }],
      '@typescript-eslint/no-misused-promises': 'error'
    }
  },

  {
    files: ['src/**/*.ts'],
    rules: { 'max-lines': ['error', 250] }
  },

  // Who may import whom.
  {
    files: ['src/**/*.ts'],
    rules: imports(the.tools, the.edge, the.app, the.http, the.hub, the.config, the.adapters, client, processModule)
  },
  {
    files: ['src/notification.ts', 'src/errors.ts'],
    rules: imports(the.tools, the.edge, the.app, the.http, the.hub, the.config, the.broker, client, processModule)
  },
  {
    files: ['src/broker/**/*.ts'],
    rules: imports(the.tools, the.edge, the.app, the.http, the.hub, the.config, the.otherAdapters, client, processModule)
  },
  {
    files: ['src/broker/redis/**/*.ts'],
    rules: imports(the.tools, the.edge, the.app, the.http, the.hub, the.config, the.otherAdapters, processModule)
  },
  {
    files: ['src/hub/*.ts'],
    rules: imports(the.tools, the.edge, the.app, the.http, the.adapters, client, processModule)
  },
  {
    files: ['src/http/*.ts'],
    rules: imports(the.tools, the.edge, the.app, the.adapters, client, processModule)
  },
  {
    files: ['src/app.ts'],
    rules: imports(the.tools, the.edge, the.adapters, client, processModule)
  },
  {
    files: edgeFiles,
    rules: imports(the.tools, the.edge, client)
  },

  // Who may touch what.
  {
    files: ['src/**/*.ts'],
    ignores: edgeFiles,
    rules: {
      'no-restricted-globals': ['error', { name: 'process', message: processModule.message }],
      'no-restricted-properties': ['error', { object: 'globalThis', property: 'process', message: processModule.message }, wallClock],
      'no-restricted-syntax': ['error', hiddenImports, rawResponse, rawTypes]
    }
  },
  {
    files: wallClockFiles,
    rules: { 'no-restricted-properties': ['error', { object: 'globalThis', property: 'process', message: processModule.message }] }
  },
  {
    files: edgeFiles,
    rules: { 'no-restricted-syntax': ['error', hiddenImports, rawResponse] }
  },
  {
    // It must have its handlers before anything is read.
    files: ['src/server.ts'],
    rules: { 'no-restricted-syntax': ['error', rawResponse, rawTypes] }
  },
  {
    files: ['src/hub/line.ts', 'src/http/event-stream.ts'],
    rules: { 'no-restricted-syntax': ['error', hiddenImports] }
  },
  {
    files: ['src/http/unrouted.ts', 'src/http/door.ts'],
    rules: { 'no-restricted-syntax': ['error', hiddenImports, rawResponse] }
  },
  {
    files: ['**/*.{js,mjs,ts,tsx}'],
    ignores: ['test/**'],
    // A comment is read at first sight. What a program says, in strings, is a sentence as long as it must be.
    rules: { 'max-len': ['error', { code: 160, comments: 120, ...sentences }] }
  },
  {
    files: ['test/**/*.{js,mjs,ts,tsx}'],
    rules: { 'max-len': ['error', { code: 220, ...sentences }] }
  }
]
