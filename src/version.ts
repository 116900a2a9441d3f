// The version of the service. It stands in package.json, and nowhere else.
import { readFileSync } from 'node:fs'

const file = new URL('../package.json', import.meta.url)

export const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
