// What the bench needs beyond the service: npm packages where peers are measured, Debian's packages only when asked.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { compileLoad } from './harness/crowd.ts'
import { nginxAbsent, redisAbsent } from './harness/parts.ts'
import { nchan } from './peers/nchan.ts'
import { pushpin } from './peers/pushpin.ts'

const folder = `${import.meta.dirname}/peers`

/** npm ci of peers/package.json, where that was not done yet, or before a package was added to it. */
export function installPackages (): void {
  const { dependencies } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')) as { dependencies: Record<string, string> }
  const missing = Object.keys(dependencies).filter((name) => !existsSync(`${folder}/node_modules/${name}`))
  if (missing.length === 0) return
  console.log(`bench/peers/node_modules has no ${missing.join(', ')}: npm ci --prefix bench/peers`)
  const { status } = spawnSync('npm', ['ci', '--prefix', folder, '--no-audit', '--no-fund', '--loglevel', 'error'], { stdio: 'inherit' })
  if (status !== 0) throw new Error('npm ci --prefix bench/peers failed; without it only --peers none can be measured')
}

/** What apt-get install would bring that is missing. */
export function missingParts (): string[] {
  return [
    ...redisAbsent() === undefined ? [] : ['redis-server'],
    ...nginxAbsent() === undefined ? [] : ['nginx'],
    ...nchan.absent() === undefined ? [] : ['libnginx-mod-nchan'],
    ...pushpin.absent() === undefined ? [] : ['pushpin'],
    ...compileLoad() === undefined ? ['gcc', 'libc6-dev'] : []
  ]
}

export function installParts (missing: readonly string[]): void {
  if (missing.length === 0) return
  const line = `apt-get install -y --no-install-recommends ${missing.join(' ')}`
  console.log(line)
  if (spawnSync('/bin/sh', ['-c', `apt-get update -qq && ${line} >/dev/null`], { stdio: 'inherit' }).status !== 0) {
    throw new Error(`could not install: ${missing.join(', ')} (are you root, on Debian?)`)
  }
}
