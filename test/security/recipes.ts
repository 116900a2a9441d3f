// The ACL recipes that a page prints, as the arguments of ACL SETUSER.
import { readFileSync } from 'node:fs'

/** The words of a command line, some in single quotes. */
export const wordsOf = (line: string): string[] => [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!)

/** `page`: below docs/. Each begins with the name of the user. */
export function recipesOf (page: string): string[][] {
  const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), 'utf8').replaceAll('\\\n', ' ')
  return [...text.matchAll(/^redis-cli ACL SETUSER (\S+ reset .*)$/gm)].map(([, line]) => wordsOf(line!))
}

/** In all of them. */
export const PASSWORD = 'a long password'
