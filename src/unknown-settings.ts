// Finds variables in the environment that look like misspelt settings of ours, and so have no effect.

export interface UnknownSetting {
  readonly name: string
  /** The most similar setting. */
  readonly nearest: string
}

/** Variables that Kubernetes and Docker add for each known service, such as REDIS_SERVICE_HOST. */
const ORCHESTRATORS = /_SERVICE_(HOST|PORT(_.*)?)$|_PORT(_\d+_(TCP|UDP)(_(ADDR|PORT|PROTO))?)?$/
/** First words that other programs use too. With one of these, only close misspellings are reported. */
const COMMON_WORDS = new Set(['HOST', 'PORT', 'NODE', 'MAX', 'LOG', 'SESSION', 'STREAM', 'GROUP', 'TOKEN', 'TRUST', 'CORS', 'REQUESTS', 'CONNECTIONS', 'PROXY', 'TLS', 'OPS', 'REUSE'])
const OUR_WORD = /^TIDINGS_?/

/** `settings`: the names of all settings. */
export function unknownSettings (env: Readonly<Record<string, string | undefined>>, settings: readonly string[]): UnknownSetting[] {
  const families = new Set(settings.map(firstWord).filter((word) => !COMMON_WORDS.has(word)))
  const unknown: UnknownSetting[] = []
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
    if (best.slips <= mayDiffer) unknown.push({ name, nearest: best.setting })
    else if (families.has(firstWord(name))) {
      const sister = ranked.find(({ setting }) => firstWord(setting) === firstWord(name))!
      unknown.push({ name, nearest: sister.setting })
    }
  }
  return unknown
}

const firstWord = (name: string): string => name.split('_', 1)[0]!
const bare = (name: string): string => name.replaceAll(/[^A-Z0-9]/g, '')

/** The Levenshtein distance: letters to be inserted, removed or changed. */
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
