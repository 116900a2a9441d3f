// A Deployment of the rendered chart, played as processes: probes, surge, pause, drain and grace as Kubernetes would do them.
import { startNode, type TestNode } from '../fixtures/node.ts'
import { freePort } from '../fixtures/process.ts'
import { eventually, type Scope } from '../fixtures/wait.ts'
import type { Manifest } from './chart.ts'

/** From a pod's end being decided until no proxy sends it anything: what Kubernetes needs to tell them. Must be below the pause. */
const PROPAGATION_MS = 700

interface Probe { httpGet: { path: string }, periodSeconds: number, failureThreshold: number }

export interface Timings {
  preStopSeconds: number
  drainSeconds: number
  graceSeconds: number
  minReadySeconds: number
  maxSurge: number
}

/** One end of a pod, in milliseconds of `performance.now()`. */
export interface Leaving { name: string, decidedAt: number, drainedAt: number, goneAt: number, code: number | null, wasKilled: boolean, streams: number }

interface Pod { name: string, node: TestNode, isEndpoint: boolean }

export class Deployment {
  readonly timings: Timings
  readonly leavings: Leaving[] = []
  readonly #t: Scope
  readonly #env: Record<string, string>
  readonly #startup: Probe
  readonly #readiness: Probe
  #pods: Pod[] = []
  #count = 0
  #goodbyes: Promise<void>[] = []

  /** `secrets`: values for the settings that the chart takes from secrets. */
  constructor (t: Scope, { spec }: Manifest, secrets: Record<string, string>) {
    this.#t = t
    const pod = spec.template.spec
    const [container] = pod.containers
    const env = container.env as { name: string, value?: string, valueFrom?: { secretKeyRef?: object } }[]
    this.#env = {
      ...Object.fromEntries(env.flatMap(({ name, value }) => value === undefined ? [] : [[name, value]])),
      ...Object.fromEntries(env.filter(({ valueFrom }) => valueFrom?.secretKeyRef !== undefined).map(({ name }) => [name, secrets[name]!])),
      ...(secrets.REDIS_PREFIX !== undefined && { REDIS_PREFIX: secrets.REDIS_PREFIX }),
      HOST: '127.0.0.1'
    }
    this.#startup = container.startupProbe
    this.#readiness = container.readinessProbe
    this.timings = {
      preStopSeconds: container.lifecycle.preStop.sleep.seconds,
      drainSeconds: Number(this.#env.DRAIN_SECONDS ?? 10),
      graceSeconds: pod.terminationGracePeriodSeconds,
      minReadySeconds: spec.minReadySeconds,
      maxSurge: spec.strategy.rollingUpdate.maxSurge
    }
    // The fixture's own default for tests is shorter than the node's.
    this.#env.DRAIN_SECONDS = String(this.timings.drainSeconds)
  }

  /** What a gateway sends requests to: ready and not about to end. */
  get endpoints (): string[] {
    return this.#pods.filter(({ isEndpoint }) => isEndpoint).map(({ node }) => node.url)
  }

  async start (replicas: number): Promise<void> {
    await Promise.all(Array.from({ length: replicas }, async () => { await this.#create() }))
  }

  /** A new pod; resolves when it is ready. */
  async #create (): Promise<Pod> {
    const name = `news-tidings-${++this.#count}`
    const { PORT, ...env } = this.#env
    const node = await startNode(this.#t, { env: { ...env, NODE_NAME: name }, port: await freePort(), name, ready: false })
    for (const probe of [this.#startup, this.#readiness]) await passes(node, probe)
    const pod: Pod = { name, node, isEndpoint: true }
    this.#pods.push(pod)
    return pod
  }

  /** Replaces every pod as a rolling update does; resolves when the last old one is gone. */
  async rollOut (): Promise<void> {
    for (const old of [...this.#pods]) {
      await this.#create()
      await seconds(this.timings.minReadySeconds)
      // A Deployment does not wait for a pod to be gone: what comes next begins now.
      this.#goodbyes.push(this.#end(old))
    }
    await Promise.all(this.#goodbyes)
  }

  async #end (pod: Pod): Promise<void> {
    const { node, name } = pod
    const decidedAt = performance.now()
    setTimeout(() => { pod.isEndpoint = false }, PROPAGATION_MS)
    const grace = setTimeout(() => {
      leaving.wasKilled = true
      node.signal('SIGKILL')
    }, this.timings.graceSeconds * 1000)
    await seconds(this.timings.preStopSeconds)
    const leaving: Leaving = { name, decidedAt, drainedAt: performance.now(), goneAt: 0, code: null, wasKilled: false, streams: 0 }
    node.signal('SIGTERM')
    leaving.code = (await node.exited).code
    clearTimeout(grace)
    leaving.goneAt = performance.now()
    leaving.streams = node.logs.find(({ msg }) => msg === 'closing')?.streams ?? 0
    this.leavings.push(leaving)
    this.#pods = this.#pods.filter((one) => one !== pod)
  }
}

async function passes ({ url }: TestNode, { httpGet: { path }, periodSeconds, failureThreshold }: Probe): Promise<void> {
  await eventually(async () => (await fetch(url + path)).status, (status) => status === 200, {
    what: `does ${path} answer 200`, withinMs: periodSeconds * failureThreshold * 1000
  })
}

async function seconds (count: number): Promise<void> {
  await new Promise((resolve) => { setTimeout(resolve, count * 1000) })
}
