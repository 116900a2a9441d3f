// The command line of our npm scripts: --help prints the usage and is no fault; what a script does not know is refused
// in a sentence, before anything is begun.
import { parseArgs, type ParseArgsConfig } from 'node:util'

type Options = NonNullable<ParseArgsConfig['options']>

/** Option `help`, for `parse`. */
export const help = { type: 'boolean', short: 'h', default: false } as const

/** `most`: how many arguments without dashes it takes. Throws an Error with one sentence, without a full stop. */
export function parse<const T extends Options> (args: readonly string[], options: T, most = 0) {
  let parsed
  try {
    parsed = parseArgs({ args: withNegatives(args), options, allowPositionals: true, tokens: true })
  } catch (error) {
    const { message } = error as Error
    const wanting = /^Option '(?:-\w, )?(--[\w-]+) ?[^']*' argument (?:is ambiguous|missing)/.exec(message)?.[1]
    throw new Error(wanting === undefined ? message.split(/\.\s/)[0] : `${wanting} wants a value`)
  }
  // parseArgs would take the last one.
  const names = parsed.tokens.flatMap((token) => token.kind === 'option' && options[token.name]?.type === 'string' ? [token.name] : [])
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice !== undefined) throw new Error(`--${twice} stands twice`)
  const tooMany = parsed.positionals[most]
  if (tooMany !== undefined) throw new Error(`Unexpected argument '${tooMany}'`)
  return parsed
}

/**
 * A number below 0 is a value, which parseArgs takes for an option of its own; then the option itself can say what it
 * wants.
 */
function withNegatives (args: readonly string[]): string[] {
  const joined: string[] = []
  for (const arg of args) {
    if (/^-\.?\d/.test(arg) && /^--[a-z][a-z-]*$/.test(joined.at(-1) ?? '')) joined.push(`${joined.pop()}=${arg}`)
    else joined.push(arg)
  }
  return joined
}

/** The command line of this process. Ends it with the usage if that is asked for, or if there is a fault. */
export function readCommandLine<const T extends Options> (usage: string, options: T, most = 0) {
  try {
    const parsed = parse(process.argv.slice(2), { ...options, help }, most)
    if ((parsed.values as { help?: boolean }).help !== true) return parsed
  } catch (error) {
    refuse((error as Error).message, usage)
  }
  console.log(usage)
  process.exit(0)
}

/** Ends this process. `fault` has no full stop. */
export function refuse (fault: string, usage: string): never {
  console.error(`${fault}.\n\n${usage}`)
  process.exit(2)
}
