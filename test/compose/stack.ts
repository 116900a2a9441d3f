// The whole docker-compose.yml as a test sees it: its image built, its containers up under a name of their own, and all gone at the end.
import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { freePort, makeFolder } from '../fixtures/process.ts'

export interface Scope {
  teardown (clean: () => unknown): unknown
  comment (text: string): unknown
  passing (): boolean
}

export interface Stack {
  /** nginx, `http://127.0.0.1:<port>`. */
  url: string
  /** The name of compose's project; every container, network and volume carries it as a label. */
  project: string
  /** `docker …`; resolves with its output, trimmed. */
  docker: (...args: string[]) => Promise<string>
  /** `docker compose …` on this project. */
  compose: (...args: string[]) => Promise<string>
  /** The same with an environment that has no settings: what "ps" or "logs" is typed in, in another shell. */
  bareCompose: (...args: string[]) => Promise<string>
  /** `ops/compose/roll.sh --no-build`, with more settings. */
  roll: (env?: Record<string, string>) => Promise<string>
  /** The status of a GET that a node sends to itself, for what nginx does not pass on. */
  ask: (container: string, path: string) => Promise<number>
  /** Ids of the running containers of a service. */
  containers: (service: string) => Promise<string[]>
  /** Ids of whatever is left of the project: containers, networks, volumes. */
  remains: () => Promise<string[]>
  /** `down -v`; also done when the test is over. */
  down: () => Promise<void>
}

const root = dirname(dirname(import.meta.dirname))

function run (command: string, args: string[], env: NodeJS.ProcessEnv = process.env): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { cwd: root, env, maxBuffer: 1e8 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${command} ${args.join(' ')}\n${stdout.slice(-4000)}\n${stderr.slice(-4000)}`, { cause: error }))
      else resolve(stdout.trim())
    })
  })
}

const works = (command: string, ...args: string[]): Promise<boolean> => run(command, args).then(() => true, () => false)

/** `docker compose` or `docker-compose`, whichever there is. Fails with the line to type where an engine or compose is missing. */
async function findCompose (): Promise<[command: string, ...args: string[]]> {
  const again = 'and then again: npm run test:compose'
  if (!await works('docker', '--version')) {
    throw new Error(`This test needs Docker and found none. Type: sudo apt-get install docker.io docker-compose   (elsewhere: Docker Desktop) ${again}`)
  }
  if (!await works('docker', 'info')) {
    throw new Error(`The Docker engine does not answer. Type: sudo systemctl start docker   (or start Docker Desktop; not root? sudo usermod -aG docker "$USER" and sign in anew) ${again}`)
  }
  if (await works('docker', 'compose', 'version')) return ['docker', 'compose']
  if (await works('docker-compose', 'version')) return ['docker-compose']
  throw new Error(`Docker is there but compose is not. Type: sudo apt-get install docker-compose ${again}`)
}

/** For what no event tells (another machine's process, a container): asks again until it does not throw, for at most 30 s. */
export async function eventually<T> (what: string, ask: () => Promise<T>): Promise<T> {
  for (const end = performance.now() + 30_000; ;) {
    try {
      return await ask()
    } catch (error) {
      if (performance.now() > end) throw new Error(`waited 30 s for ${what}`, { cause: error })
      await setTimeout(200)
    }
  }
}

/** `env`: what an operator would export before `docker compose up`. TIDINGS_BUILD_NETWORK=host builds on the host's network. `files` come on top of docker-compose.yml. */
export async function startStack (t: Scope, env: Record<string, string>, files: readonly string[] = []): Promise<Stack> {
  const [command, ...first] = await findCompose()
  const project = `tidings-test-${randomBytes(4).toString('hex')}`
  const port = await freePort()
  // Empty, so that a developer's own .env has no say.
  const envFile = join(makeFolder(t), 'env')
  writeFileSync(envFile, '')
  const { PATH, HOME, DOCKER_HOST, DOCKER_CONFIG, DOCKER_CONTEXT } = process.env
  const system: NodeJS.ProcessEnv = Object.fromEntries(Object.entries({ PATH, HOME, DOCKER_HOST, DOCKER_CONFIG, DOCKER_CONTEXT }).filter(([, value]) => value !== undefined))
  const composeEnv: NodeJS.ProcessEnv = {
    ...system,
    TIDINGS_IMAGE: project,
    TIDINGS_PORT: String(port),
    ...env
  }
  const docker = (...args: string[]) => run('docker', args)
  const composeArgs = (...args: string[]) => [...first, '--env-file', envFile, '-p', project, ...['docker-compose.yml', ...files].flatMap((file) => ['-f', join(root, file)]), ...args]
  const compose = (...args: string[]) => run(command, composeArgs(...args), composeEnv)
  const bareCompose = (...args: string[]) => run(command, composeArgs(...args), system)
  const roll = (more: Record<string, string> = {}) => run(join(root, 'ops/compose/roll.sh'), ['--no-build'], { ...composeEnv, ...more, COMPOSE: [command, ...composeArgs()].join(' ') })
  const remains = async () => {
    const label = ['-q', '--filter', `label=com.docker.compose.project=${project}`]
    const found = await Promise.all([docker('ps', '-a', ...label), docker('network', 'ls', ...label), docker('volume', 'ls', ...label)])
    return found.flatMap((ids) => ids.split('\n').filter(Boolean))
  }
  const containers = async (service: string) => (await docker('ps', '-q', '--no-trunc',
    '--filter', `label=com.docker.compose.project=${project}`, '--filter', `label=com.docker.compose.service=${service}`)).split('\n').filter(Boolean)
  // What a profile has started ends with that profile alone.
  const ends = ['--profile', 'observe', 'down', '-v']
  const down = async () => {
    await compose(...ends, '--remove-orphans', '-t', '5')
  }

  // A test that is interrupted runs no teardown, and containers would come back after the next boot.
  const interrupted = () => {
    spawnSync(command, composeArgs(...ends, '-t', '1'), { env: composeEnv, stdio: 'ignore' })
    spawnSync('docker', ['rmi', '-f', project], { stdio: 'ignore' })
    process.exit(1)
  }
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  t.teardown(async () => {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted)
    if (!t.passing()) t.comment(await compose('logs', '--no-color', '--tail=60').catch(String))
    await down()
    await docker('rmi', '-f', project)
  })
  const network = process.env.TIDINGS_BUILD_NETWORK
  await docker('build', ...(network === undefined ? [] : ['--network', network]), '-t', project, root)
  await compose('up', '-d', '--no-build')

  return {
    url: `http://127.0.0.1:${port}`,
    project,
    docker,
    compose,
    bareCompose,
    roll,
    ask: async (container, path) => Number(await docker('exec', container, 'node', '-e', `console.log((await fetch('http://127.0.0.1:' + process.env.PORT + '${path}')).status)`)),
    containers,
    remains,
    down
  }
}
