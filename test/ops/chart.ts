// The chart as Helm renders it, for the checks: objects by kind and name.
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { run, tools } from './tools.ts'

/** A Kubernetes object; what a check reads in it, it looks up by path. */
export type Manifest = Record<string, any> & { kind: string, apiVersion: string, metadata: Record<string, any> & { name: string } }

export const chart = join(import.meta.dirname, '../../ops/helm/tidings')
/** The value files of the checks, by name: `gateway` for ci/gateway-values.yaml. */
export const valueFiles: ReadonlyMap<string, string> = new Map(readdirSync(join(chart, 'ci')).sort()
  .map((file) => [basename(file, '-values.yaml'), join(chart, 'ci', file)]))

const { helm } = await tools()

/** The text that `helm template news` writes. Throws what Helm says where it refuses. */
export function template (...args: string[]): string {
  return run(helm, ['template', 'news', chart, '--namespace', 'news', '--kube-version', '1.36.0', ...args])
}

export function read (text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0]
    return document.toJS() as Manifest | null
  }).filter((object) => object !== null)
}

/** The objects of one value file. */
export function render (values: string, ...args: string[]): Manifest[] {
  return read(template('--values', valueFiles.get(values)!, ...args))
}

/** The one object of a kind whose name ends so; without an end, the first. */
export function find (objects: readonly Manifest[], kind: string, end = ''): Manifest {
  const found = objects.find((object) => object.kind === kind && object.metadata.name.endsWith(end))
  if (found === undefined) throw new Error(`no ${kind} …${end} among ${objects.map(({ kind, metadata: { name } }) => `${kind} ${name}`).join(', ')}`)
  return found
}
