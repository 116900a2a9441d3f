// Names in the environment that look like settings of ours and are none: most likely a slip of the pen, which has no
// effect.

export interface UnknownSetting {
  readonly name: string
  /** The setting that it is most like. */
  readonly nearest: string
}

/** What Kubernetes and Docker put beside a program for every service that they know, for example REDIS_SERVICE_HOST. */
const ORCHESTRATORS = /_SERVICE_(HOST|PORT(_.*)?)$|_PORT(_\d+_(TCP|UDP)(_(ADDR|PORT|PROTO))?)?$/
/** These first words other programs use too; behind them only what is nearly one of our names is told. */
const COMMON_WORDS = new Set(['HOST', 'PORT', 'NODE', 'MAX', 'LOG', 'SESSION', 'STREAM', 'GROUP', 'TOKEN', 'TRUST', 'CORS', 'REQUESTS', 'CONNECTIONS', 'PROXY', 'TLS', 'OPS', 'REUSE'])
const OUR_WORD = /^TIDINGS_?/

/** `settings`: every name that has a meaning. */
export function unknownSettings (env: Readonly<Record<string, string | undefined>>, settings: readonly string[]): UnknownSetting[] {
  const families = new Set(settings.map(firstWord).filter((word) => !COMMON_WORDS.has(word)))
  const found: UnknownSetting[] = []
  for (const name of Object.keys(env)) {
    if (settings.includes(name) || ORCHESTRATORS.test(name)) continue
    const plain = bare(name.toUpperCase().replace(OUR_WORD, ''))
    const ranked = settings
      .map((setting) => ({ setting, slips: distance(plain, bare(setting)) }))
      .sort((a, b) => a.slips - b.slips)
    const [best] = ranked
    if (best === undefined) continue
    const length = bare(best.setting).length
    const mayDiffer = length < 6 ? 0 : length < 8 ? 1 : 2
    if (best.slips <= mayDiffer) found.push({ name, nearest: best.setting })
    else if (families.has(firstWord(name))) {
      const sister = ranked.find(({ setting }) => firstWord(setting) === firstWord(name))!
      found.push({ name, nearest: sister.setting })
    }
  }
  return found
}

const firstWord = (name: string): string => name.split('_', 1)[0]!
const bare = (name: string): string => name.replaceAll(/[^A-Z0-9]/g, '')

/** Levenshtein's: letters that must be put in, taken out or changed. */
function distance (a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      row.push(Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    above = row
  }
  return above[b.length]!
}
