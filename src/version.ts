// The version of the service, which stands in package.json only.
import { readFileSync } from 'node:fs'

const file = new URL('../package.json', import.meta.url)

export const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
