// Makes client/dist: one minified file that the nodes serve, the React part, and their types. `npm pack` runs it.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const client = join(import.meta.dirname, '../client')
const out = process.argv[2] ?? join(client, 'dist')

await build({
  entryPoints: ['tidings', 'react'].map((name) => join(client, 'src', `${name}.ts`)).filter(existsSync),
  outdir: out,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
  // Names that our own files alone use. Not those of options, of what a page sees, of fetch, or of messages between
  // tabs: those may be of another version.
  mangleProps: /^(isLeader|isIn|isShared|onLead|onRest|onMessage|onEvent|onState|silentMs|isAwaited|lastId|greet|claim|leave|join|hear|check|open|stop|retry|post|tab|call)$/,
  // The React part takes a connection that the page has made: it needs React, and nothing of the other file at run
  // time.
  external: ['react']
})

const types = spawnSync(process.execPath, [
  join(client, '../node_modules/typescript/bin/tsc'), '-p', client, '--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', out
], { stdio: 'inherit' })
process.exitCode = types.status ?? 1
