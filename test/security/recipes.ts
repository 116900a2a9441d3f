// The ACL recipes that a page prints, as the arguments of ACL SETUSER.
import { readFileSync } from 'node:fs'

/** `page`: below docs/. Each begins with the name of the user. */
export function recipesOf (page: string): string[][] {
  const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), 'utf8').replaceAll('\\\n', ' ')
  return [...text.matchAll(/^redis-cli ACL SETUSER (\S+ reset .*)$/gm)].map(([, line]) => [...line!.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!))
}

/** In all of them. */
export const PASSWORD = 'a long password'
