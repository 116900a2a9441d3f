// One run: start everything, make faults one after the other, wait for healing after each, then settle the account.
import { setTimeout as pause } from 'node:timers/promises'
import type { Scope } from '../test/fixtures/wait.ts'
import type { Fault, Stage } from './fault.ts'
import { faults } from './faults.ts'
import { Locals } from './locals.ts'
import type { Options } from './options.ts'
import { Publishers } from './publishers.ts'
import { Random } from './random.ts'
import { judge, type Verdict } from './verdict.ts'
import { DYNAMIC_GROUPS, World } from './world.ts'
import { Watch } from './watch.ts'

/** How long the service has to be whole again after the cure of a fault. */
const HEAL_MS = 60_000
/**
 * A fault that has not ended by then has broken what no service can mend: the run says which, instead of waiting for
 * ever.
 */
const FAULT_MS = 90_000
/** What is never copied is not waited for so long. */
const BROKEN_HEAL_MS = 3000
/** One fault in so many comes with a mild one on top. */
const COMPANY = 0.25

export interface Incident {
  readonly fault: string
  /** A mild one that came on top. */
  readonly with?: string
  readonly atSeconds: number
  /** From its beginning; undefined: nothing showed. */
  readonly detectedMs: number | undefined
  readonly lastedMs: number
  /**
   * From its cure until every node was ready and every client had what was published after the cure; undefined: never.
   */
  readonly healedMs: number | undefined
}

export interface Outcome {
  readonly options: Options
  readonly incidents: readonly Incident[]
  readonly verdict: Verdict
  /** Must be 0 besides those of the verdict. */
  readonly notHealed: number
  readonly notAlive: number
  readonly oddAnswers: Readonly<Record<string, number>>
  readonly uncleanExits: number
  readonly acknowledged: number
  readonly retries: number
  readonly reconnects: number
  readonly seconds: number
}

export async function run (scope: Scope, options: Options, say: (line: string) => void): Promise<Outcome> {
  const startedAt = performance.now()
  const random = new Random(options.seed)
  const world = new World(scope, options)
  const healMs = options.sabotage === 'no-copies' ? BROKEN_HEAL_MS : HEAL_MS
  say(`seed ${options.seed}: starting Redis (${options.topology}, ${options.partitions} partitions), 3 nodes, nginx and ${options.clients} clients`)
  for (const [name, why] of Object.entries(options.notTried)) say(`NOT TRIED: ${name}, ${why}`)
  await world.start()
  const watch = new Watch(world)
  scope.teardown(() => { watch.stop() })
  const publishers = new Publishers(world, random.fork())
  await watch.becomesWhole(() => 0, HEAL_MS)
  say(`all live after ${seconds(performance.now() - startedAt)} s; faults for ${options.seconds} s`)
  publishers.start()

  const incidents: Incident[] = []
  const faultsAt = world.ledger.beganMs = performance.now()
  const elapsed = (): number => (performance.now() - faultsAt) / 1000
  const progress = setInterval(() => { say(`  ${elapsed().toFixed(0).padStart(4)} s  ${standing(world, publishers)}`) }, 5000)
  scope.teardown(() => { clearInterval(progress) })
  const deck = new Deck(faults.filter(({ name }) => options.faults.includes(name)), random.fork())
  for (;;) {
    await pause(random.between(200, 1200))
    const left = options.seconds - elapsed()
    const fault = left > 0 ? deck.draw(left) : undefined
    if (fault === undefined) break
    const mild = !fault.isMild && random.next() < COMPANY ? deck.mild(fault) : undefined
    incidents.push(await undergo({ fault, mild, world, publishers, random: random.fork(), watch, healMs, atSeconds: elapsed() }))
    say(`  ${elapsed().toFixed(0).padStart(4)} s  ${tell(incidents.at(-1)!)}`)
  }
  clearInterval(progress)

  say('no more faults: waiting for what is under way')
  await publishers.stop()
  const owesNothing = await world.outside.owesNothing(healMs)
  const isWhole = await isHealed({ world, publishers, watch, healMs }) && owesNothing
  const last = isWhole ? 0 : 1
  watch.stop()
  for (const listener of world.listeners) listener.close()
  const { division, listeners, ledger } = world
  const locals = new Locals(division, listeners)
  await locals.find(ledger, world.outside)
  const verdict = judge(ledger, listeners, DYNAMIC_GROUPS, { division, locals })
  return {
    options,
    incidents,
    verdict,
    notHealed: incidents.filter(({ healedMs }) => healedMs === undefined).length + last,
    notAlive: watch.notAlive,
    oddAnswers: Object.fromEntries(publishers.oddAnswers),
    uncleanExits: world.uncleanExits,
    acknowledged: publishers.acknowledged,
    retries: publishers.retries,
    reconnects: world.listeners.reduce((sum, { connection }) => sum + connection - 1, 0),
    seconds: (performance.now() - startedAt) / 1000
  }
}

interface Healing {
  readonly world: World
  readonly publishers: Publishers
  readonly watch: Watch
  readonly healMs: number
}

/** Published after the cure: whoever has it has all that was before it, or was told otherwise. */
async function isHealed ({ world: { division, outside }, publishers, watch, healMs }: Healing): Promise<boolean> {
  // What comes to a partition after this comes to its users later.
  const before = division.count === 1 ? [] : await Promise.all(division.prefixes.map(async (_, partition) => await outside.moment(partition)))
  let probe: number | undefined
  for (const end = performance.now() + healMs; probe === undefined && performance.now() < end;) probe = await publishers.fcall(['all'])
  if (probe === undefined) return false
  const least = probe
  return await watch.becomesWhole((userId) => division.count === 1 ? least : before[division.homeOf(`user:${userId}`)]! + 1, healMs)
}

interface Undergone extends Healing {
  readonly fault: Fault
  readonly mild: Fault | undefined
  readonly random: Random
  readonly atSeconds: number
}

async function undergo ({ fault, mild, world, publishers, random, watch, healMs, atSeconds }: Undergone): Promise<Incident> {
  let noticedAt: number | undefined
  const noticed = (): void => { noticedAt ??= performance.now() }
  const stage: Stage = { world, publishers, random, metric: (name, label) => watch.metric(name, label), noticed }
  watch.expect(fault.shows, noticed)
  const begunAt = performance.now()
  const { promise: late, reject } = Promise.withResolvers<never>()
  const deadline = setTimeout(() => { reject(new Error(`the fault ${fault.name} has not ended after ${FAULT_MS / 1000} s`)) }, FAULT_MS)
  await Promise.race([late, Promise.all([fault.make(stage), mild?.make({ ...stage, random: random.fork(), noticed: () => {} })])])
  clearTimeout(deadline)
  const curedAt = performance.now()
  const isWhole = await isHealed({ world, publishers, watch, healMs })
  if (isWhole) world.ledger.healed()
  watch.expect('nothing', () => {})
  return {
    fault: fault.name,
    ...(mild !== undefined && { with: mild.name }),
    atSeconds,
    detectedMs: noticedAt === undefined ? undefined : noticedAt - begunAt,
    lastedMs: curedAt - begunAt,
    healedMs: isWhole ? performance.now() - curedAt : undefined
  }
}

/** Every fault once, in random order, then all again. */
class Deck {
  readonly #all: readonly Fault[]
  readonly #random: Random
  #rest: Fault[] = []

  constructor (all: readonly Fault[], random: Random) {
    this.#all = all
    this.#random = random
  }

  /** The next one that still fits into the time left. */
  draw (leftSeconds: number): Fault | undefined {
    const fits = ({ seconds = 0 }: Fault): boolean => seconds <= leftSeconds
    if (!this.#rest.some(fits)) this.#rest = this.#random.shuffled(this.#all)
    const at = this.#rest.findIndex(fits)
    return at === -1 ? undefined : this.#rest.splice(at, 1)[0]
  }

  /** One that goes together with another: nginx cannot be reloaded while it is dead. */
  mild ({ name }: Fault): Fault | undefined {
    const mild = this.#all.filter((fault) => fault.isMild && !(name.startsWith('nginx') && fault.name.startsWith('nginx')))
    return mild.length === 0 ? undefined : this.#random.pick(mild)
  }
}

const seconds = (ms: number): string => (ms / 1000).toFixed(2)

function standing ({ listeners }: World, { acknowledged }: Publishers): string {
  const live = listeners.filter(({ isLive }) => isLive).length
  const told = listeners.reduce((sum, { told }) => sum + told.length, 0)
  return `${live} of ${listeners.length} live, ${acknowledged} durable acknowledged, ${told} received`
}

function tell ({ fault, with: mild, detectedMs, healedMs, lastedMs }: Incident): string {
  const name = mild === undefined ? fault : `${fault} and ${mild}`
  return `${name}: lasted ${seconds(lastedMs)} s, ${detectedMs === undefined ? 'not noticed' : `noticed after ${seconds(detectedMs)} s`}, ` +
    (healedMs === undefined ? 'NOT HEALED' : `healed ${seconds(healedMs)} s after the cure`)
}
