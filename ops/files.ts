// Writes those files of ops/ that are made from code or copied: `npm run ops:files`. A test holds that they are what
// this makes.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readCommandLine } from '../scripts/command-line.ts'
import { dashboard } from './grafana/dashboard.ts'
import { valuesSchema } from './helm/values-schema.ts'

const json = (value: object): string => `${JSON.stringify(value, null, 2)}\n`

/** Path below ops/ → what stands there. A chart can hold no file from outside of it, so it has copies. */
export const files: Readonly<Record<string, () => string>> = {
  'grafana/dashboard.json': () => json(dashboard()),
  'helm/tidings/values.schema.json': () => json(valuesSchema()),
  'helm/tidings/files/dashboard.json': () => json(dashboard()),
  'helm/tidings/files/rules.yml': () => readFileSync(join(import.meta.dirname, 'prometheus/rules.yml'), 'utf8')
}

if (import.meta.main) {
  readCommandLine(`Usage: npm run ops:files\n\nWrites, below ops/: ${Object.keys(files).join(', ')}`, {})
  for (const [path, make] of Object.entries(files)) writeFileSync(join(import.meta.dirname, path), make())
}
