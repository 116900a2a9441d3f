// Reads those of OpenTelemetry's environment variables that say whether and how traces are sent. The exporter reads the
// others.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
import type { Env } from './environment.ts'

export interface OtelSettings {
  readonly serviceName: string
  /** For traces that begin here. `isParentBased`: a trace that began elsewhere follows the decision made there. */
  readonly sampler: { readonly isParentBased: boolean, readonly ratio: number }
  /** How long finished spans are collected before they are sent. */
  readonly delayMs: number
  readonly queueLength: number
  readonly batchLength: number
}

const SAMPLERS: Readonly<Record<string, { readonly isParentBased: boolean, readonly ratio?: number }>> = {
  always_on: { isParentBased: false, ratio: 1 },
  always_off: { isParentBased: false, ratio: 0 },
  traceidratio: { isParentBased: false },
  parentbased_always_on: { isParentBased: true, ratio: 1 },
  parentbased_always_off: { isParentBased: true, ratio: 0 },
  parentbased_traceidratio: { isParentBased: true }
}

/**
 * Undefined if no traces are wanted. `warn` is called for each value that cannot be read, with what happens instead.
 */
export function readOtelSettings (env: Env, warn: (text: string) => void): OtelSettings | undefined {
  const read = (name: string): string | undefined => env[name]?.trim() || undefined
  const endpoints = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'].map((name) => [name, read(name)] as const)
  const [at = '', endpoint] = endpoints.find(([, text]) => text !== undefined) ?? []
  if (endpoint === undefined) return undefined
  if (read('OTEL_SDK_DISABLED')?.toLowerCase() === 'true') return undefined
  const exporter = read('OTEL_TRACES_EXPORTER') ?? 'otlp'
  if (exporter === 'none') return undefined
  if (!/^https?:\/\/[^/]/.test(endpoint) || !URL.canParse(endpoint)) {
    warn(`${at} must be a URL such as http://collector:4318; no traces go out`)
    return undefined
  }
  // The exporter silently ignores what it cannot read, so these are checked here.
  for (const name of ['OTEL_EXPORTER_OTLP_HEADERS', 'OTEL_EXPORTER_OTLP_TRACES_HEADERS', 'OTEL_RESOURCE_ATTRIBUTES']) {
    // The values may be secret, so they are not quoted.
    if (read(name)?.split(',').some((entry) => !isPair(entry)) === true) warn(`${name} must be name=value,name=value, percent-encoded; what is not has no effect`)
  }
  for (const name of ['OTEL_EXPORTER_OTLP_TIMEOUT', 'OTEL_EXPORTER_OTLP_TRACES_TIMEOUT']) {
    if (!/^[1-9]\d{0,8}$/.test(read(name) ?? '1')) warn(`${name} must be a whole number of milliseconds; it is taken for 10000`)
  }
  for (const name of ['OTEL_EXPORTER_OTLP_COMPRESSION', 'OTEL_EXPORTER_OTLP_TRACES_COMPRESSION']) {
    if (!['gzip', 'none'].includes(read(name) ?? 'none')) warn(`${name} must be gzip or none; nothing is compressed`)
  }
  if (exporter !== 'otlp') warn(`OTEL_TRACES_EXPORTER is ${exporter}; only otlp and none are known, traces go out by OTLP`)
  const protocol = read('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') ?? read('OTEL_EXPORTER_OTLP_PROTOCOL') ?? 'http/protobuf'
  if (protocol !== 'http/protobuf') warn(`OTLP by ${protocol} is not known here; traces go out by http/protobuf (port 4318 of a collector)`)
  const whole = (name: string, fallback: number): number => {
    const text = read(name)
    if (text === undefined || /^[1-9]\d{0,8}$/.test(text)) return Number(text ?? fallback)
    warn(`${name} must be a whole number, not ${JSON.stringify(text.slice(0, 40))}; it is taken for ${fallback}`)
    return fallback
  }
  const queueLength = whole('OTEL_BSP_MAX_QUEUE_SIZE', 2048)
  return {
    serviceName: read('OTEL_SERVICE_NAME') ?? 'tidings',
    sampler: samplerOf(read('OTEL_TRACES_SAMPLER') ?? 'parentbased_always_on', read('OTEL_TRACES_SAMPLER_ARG'), warn),
    delayMs: whole('OTEL_BSP_SCHEDULE_DELAY', 5000),
    queueLength,
    batchLength: Math.min(queueLength, whole('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 512))
  }
}

function isPair (entry: string): boolean {
  const [name = '', ...value] = entry.split('=')
  if (entry.trim() === '') return true
  try {
    return name.trim() !== '' && value.length > 0 && decodeURIComponent(entry) !== ''
  } catch {
    return false
  }
}

function samplerOf (name: string, argument: string | undefined, warn: (text: string) => void): OtelSettings['sampler'] {
  const sampler = SAMPLERS[name.toLowerCase()]
  if (sampler === undefined) {
    warn(`OTEL_TRACES_SAMPLER is ${name}, which is not known; it is taken for parentbased_always_on`)
    return { isParentBased: true, ratio: 1 }
  }
  if (sampler.ratio !== undefined) return { isParentBased: sampler.isParentBased, ratio: sampler.ratio }
  const ratio = Number(argument ?? 1)
  if (ratio >= 0 && ratio <= 1) return { isParentBased: sampler.isParentBased, ratio }
  warn(`OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, not ${JSON.stringify(argument)}; it is taken for 1`)
  return { isParentBased: sampler.isParentBased, ratio: 1 }
}
