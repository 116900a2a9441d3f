// The head of a result: on what, with which versions, when, and by which command it was measured.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import os from 'node:os'
import { findProgram } from '../test/fixtures/parts.ts'
import { commitOf, type Service } from './harness/service.ts'

export interface Head {
  readonly date: string
  readonly command: string
  readonly commit: string
  /** Commit of the other checkout. */
  readonly against?: string
  readonly cpu: string
  readonly cores: number
  readonly memoryGB: number
  readonly kernel: string
  readonly openFiles: number
  readonly loadAverage: readonly number[]
  readonly versions: Readonly<Record<string, string>>
}

function said (program: string | undefined, args: readonly string[], pattern: RegExp): string | undefined {
  if (program === undefined) return undefined
  try {
    const text = execFileSync('/bin/sh', ['-c', '"$0" "$@" 2>&1', program, ...args], { encoding: 'utf8' })
    return pattern.exec(text)?.[1]
  } catch {
    return undefined
  }
}

function packageVersion (name: string): string | undefined {
  try {
    return (JSON.parse(readFileSync(new URL(`peers/node_modules/${name}/package.json`, import.meta.url), 'utf8')) as { version: string }).version
  } catch {
    return undefined
  }
}

/** How many files a process may open, which bounds its streams. */
export function openFileLimit (): number {
  return Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1024)
}

export function readHead (args: readonly string[], other?: Service): Head {
  const found = {
    node: process.version.slice(1),
    fastify: (JSON.parse(readFileSync(new URL('../node_modules/fastify/package.json', import.meta.url), 'utf8')) as { version: string }).version,
    redis: said(findProgram(['redis-server', 'valkey-server']), ['--version'], /v=([\d.]+)/),
    nginx: said(findProgram(['nginx']), ['-v'], /nginx\/([\d.]+)/),
    cc: said(findProgram(['cc']), ['--version'], /([\d.]+)\n/),
    nchan: said(findProgram(['dpkg-query']), ['-s', 'libnginx-mod-nchan'], /^Version: (?:\d+:)?([\d.]+)/m),
    pushpin: said(findProgram(['pushpin']), ['--version'], /([\d.]+)/),
    centrifugo: said(findProgram(['centrifugo']), ['version'], /v?(\d+\.[\d.]+)/),
    mercure: said(findProgram(['mercure']), ['version'], /v?(\d+\.[\d.]+)/),
    ...Object.fromEntries(['better-sse', '@fastify/sse', 'fastify-sse-v2', 'socket.io', '@socket.io/redis-adapter'].map((name) => [name, packageVersion(name)]))
  }
  return {
    date: new Date().toISOString(),
    command: ['npm run bench', ...args.length > 0 ? ['--', ...args] : []].join(' '),
    commit: commitOf(import.meta.dirname),
    ...(other !== undefined && { against: other.tag.slice(1) }),
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.cpus().length,
    memoryGB: Math.round(os.totalmem() / 2 ** 30),
    kernel: `${os.type()} ${os.release().split('-')[0]}`,
    openFiles: openFileLimit(),
    loadAverage: os.loadavg().map((value) => Math.round(value * 100) / 100),
    versions: Object.fromEntries(Object.entries(found).filter((pair): pair is [string, string] => pair[1] !== undefined))
  }
}

export function headText ({ date, command, commit, against, cpu, cores, memoryGB, kernel, openFiles, loadAverage, versions }: Head): string {
  return `${command}
${date}, commit ${commit}${against === undefined ? '' : ` against ${against}`}
${cpu}, ${cores} cores, ${memoryGB} GB, ${kernel}, at most ${openFiles} open files a process; load average ${loadAverage.join(' ')}
${Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(', ')}`
}
