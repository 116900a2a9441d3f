// The operators' programs that the checks of ops/ run: helm, kubeconform, Prometheus, a collector of traces, schemas. Got once for a machine, by pinned versions.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { findPrometheus } from '../fixtures/parts.ts'

/** Where what was built or fetched stays; TIDINGS_TOOLS names another folder. */
const cache = process.env.TIDINGS_TOOLS ?? join(homedir(), '.cache/tidings-tools')

/** From the Go module proxy. */
const goTools = {
  helm: { module: 'helm.sh/helm/v3/cmd/helm', version: '3.22.0' },
  kubeconform: { module: 'github.com/yannh/kubeconform/cmd/kubeconform', version: '0.8.0' }
}
/** JSON schemas of the versions of Kubernetes, as a package of PyPI carries them. */
const schemas = { package: 'kubernetes-validate', version: '1.37.0', kubernetes: ['1.30.0', '1.36.0'] }
/** Validators of custom resources (Gateway API, Prometheus operator), as packages of npm carry them. */
const models = ['@kubernetes-models/gateway-api@2.0.0', '@kubernetes-models/prometheus-operator@6.0.0']

export interface Tools {
  helm: string
  kubeconform: string
  prometheus: string
  promtool: string
  /** The collector's OTLP receiver, as test/ops/otlp/main.go makes a program of it. */
  otlp: string
  /** Reads a dashboard by Grafana's own types, as test/ops/grafana/main.go makes a program of them. */
  grafana: string
  /** Folder with `v1.36.0-local-strict/deployment-apps-v1.json` and so on. */
  schemas: string
  /** The versions of Kubernetes whose schemas are there. */
  kubernetes: string[]
  /** A `node_modules` with the validators. */
  models: string
}

/** Finds all of them, and gets what is missing. Throws with the line to type. */
export async function tools (): Promise<Tools> {
  const prometheus = (await findPrometheus())
  return {
    helm: goTool('helm'),
    kubeconform: goTool('kubeconform'),
    prometheus,
    promtool: prometheus.replace(/prometheus$/, 'promtool'),
    otlp: ownProgram('otlp', 'the OTLP receiver of the OpenTelemetry Collector is'),
    grafana: ownProgram('grafana', 'a reader of dashboards, with the types of Grafana, is'),
    schemas: kubernetesSchemas(),
    kubernetes: schemas.kubernetes,
    models: customResources()
  }
}

/** Runs a program to its end: its output, or an error that has it. */
export function run (command: string, args: readonly string[], { env = {}, input }: { env?: Record<string, string>, input?: string } = {}): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8', env: { ...process.env, ...env }, maxBuffer: 1e8, ...(input !== undefined && { input })
  })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status ?? error?.message}\n${stdout}${stderr}`)
  return stdout
}

/** Makes a folder of the cache, whole or not at all: test files run at the same time. */
function once (name: string, make: (folder: string) => void): string {
  const folder = join(cache, name)
  if (existsSync(folder)) return folder
  mkdirSync(cache, { recursive: true })
  const draft = mkdtempSync(join(cache, '.draft-'))
  try {
    make(draft)
    renameSync(draft, folder)
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    if (!existsSync(folder)) throw error
  }
  return folder
}

function goTool (name: keyof typeof goTools): string {
  const { module, version } = goTools[name]
  const folder = once(`${name}-${version}`, (draft) => {
    process.stderr.write(`${name} ${version} is built by Go, once for this machine: about two minutes\n`)
    try {
      run('go', ['install', `${module}@v${version}`], { env: { GOBIN: draft, CGO_ENABLED: '0', GOFLAGS: '-ldflags=-s' } })
    } catch (error) {
      throw new Error(`${name} could not be built. It needs Go 1.26 or later: GOBIN=${cache}/${name}-${version} go install ${module}@v${version}\n${(error as Error).message}`)
    }
  })
  return join(folder, name)
}

/** From a folder of this one: a program around a library of somebody else's. */
function ownProgram (name: 'otlp' | 'grafana', what: string): string {
  const source = join(import.meta.dirname, name)
  const hash = createHash('sha256')
  for (const file of ['go.mod', 'go.sum', 'main.go']) hash.update(readFileSync(join(source, file)))
  const folder = once(`${name}-${hash.digest('hex').slice(0, 12)}`, (draft) => {
    process.stderr.write(`${what} built by Go, once for this machine: less than a minute\n`)
    run('go', ['build', '-C', source, '-ldflags=-s', '-o', join(draft, name), '.'], { env: { CGO_ENABLED: '0', GOFLAGS: '-mod=readonly -buildvcs=false' } })
  })
  return join(folder, name)
}

function kubernetesSchemas (): string {
  return once(`${schemas.package}-${schemas.version}`, (draft) => {
    run('python3', ['-m', 'pip', 'download', '-q', '--no-deps', '--disable-pip-version-check', '-d', draft, `${schemas.package}==${schemas.version}`])
    const some = schemas.kubernetes.map((version) => `/v${version}-local-strict/`)
    run('python3', ['-c', UNPACK, draft, ...some])
  })
}

// Takes the wanted versions out of the package, which has every version since 1.25.
const UNPACK = `
import glob, json, os, sys, zipfile
folder, wanted = sys.argv[1], sys.argv[2:]
wheel, = glob.glob(folder + '/*.whl')
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if any(part in name for part in wanted):
            path = os.path.join(folder, *name.split('/')[-2:])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'wb') as file:
                # Names and references are those of a web server; kubeconform reads files that stand side by side.
                schema = json.loads(archive.read(name).replace(b'"/api/_definitions.json', b'"_definitions.json'))
                schema.pop('$id', None)
                file.write(json.dumps(schema).encode())
os.remove(wheel)
`

function customResources (): string {
  const folder = once(`models-${models.map((model) => model.split('@').at(-1)).join('-')}`, (draft) => {
    run('npm', ['install', '--silent', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', draft, ...models])
  })
  return join(folder, 'node_modules')
}
