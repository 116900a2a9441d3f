// Makes client/dist: one minified file that the nodes serve, the React part, and their types. `npm pack` runs it.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { minify } from 'terser'
import { readCommandLine } from './command-line.ts'

const usage = `Usage: npm run build:client [-- <folder>]

Builds the browser module, its React part and their types into the folder (client/dist).`

const { positionals: [folder] } = readCommandLine(usage, {}, 1)
const client = join(import.meta.dirname, '../client')
const out = folder ?? join(client, 'dist')

const { outputFiles } = await build({
  entryPoints: ['tidings', 'react'].map((name) => join(client, 'src', `${name}.ts`)).filter(existsSync),
  outdir: out,
  bundle: true,
  write: false,
  minifyWhitespace: true,
  minifySyntax: true,
  // Terser gives the names: esbuild chooses the letters by what the types say, too, and 30 bytes come and go by that.
  minifyIdentifiers: false,
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
  // Names that our own files alone use. Not those of options, of what a page sees, of fetch, or of messages between
  // tabs: those may be of another version.
  mangleProps: /^(isLeader|isIn|isAlone|access|onLead|onRest|onMessage|onEvent|onState|silentMs|isAwaited|lastId|beatMs|greet|claim|leave|join|hear|check|open|stop|drop|retry|post|tab|call)$/,
  // The React part takes a connection that the page has made: it needs React, and nothing of the other file at run
  // time.
  external: ['react']
})
mkdirSync(out, { recursive: true })
for (const { path, text } of outputFiles) {
  // It folds what esbuild leaves: a fortieth of the zipped file. (No function of ours looks for its own `this`. One
  // that is called once stays where it is: zipped, that is shorter. No getter of ours does anything but give a value.)
  const { code } = await minify(text, {
    module: true,
    ecma: 2020,
    compress: {
      passes: 2, unsafe: true, pure_getters: true, unsafe_arrows: true, arrows: false, sequences: false, hoist_vars: true, if_return: false, reduce_funcs: false
    }
  })
  // Frameworks with components of the server are told that these are not.
  writeFileSync(path, path.endsWith('react.js') ? `'use client';${code}` : code!)
}

const types = spawnSync(process.execPath, [
  join(client, '../node_modules/typescript/bin/tsc'), '-p', client, '--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', out
], { stdio: 'inherit' })
process.exitCode = types.status ?? 1
