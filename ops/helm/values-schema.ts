// values.schema.json of the chart: its own values as written here, the settings of a node from src/config.ts.
import { configSchema } from '../../src/config.ts'

interface Schema { [keyword: string]: unknown }

/** What the chart sets itself, or stands upon: its probes and its service know one port. */
const OWN = ['HOST', 'PORT', 'NODE_NAME', 'OPS_PORT', 'REUSE_PORT']
/** Settings of a node that an installation has no use for: what is secret comes from secrets, not from files. */
const isOurs = (name: string): boolean => OWN.includes(name) || name.endsWith('_FILE')
/** OpenTelemetry's variables, which are its own and no settings of ours. */
const OTEL = '^OTEL_[A-Z_]+$'
/** What must not stand in a values file. REDIS_URL may: without a password it is no secret. */
const SECRET = ['JWT_SECRET', 'JWT_PUBLIC_KEY']

const object = (properties: Record<string, Schema>, more: Schema = {}): Schema => ({ type: 'object', additionalProperties: false, properties, ...more })
const text: Schema = { type: 'string' }
const flag: Schema = { type: 'boolean' }
const count = (minimum: number, maximum = 2_147_483_647): Schema => ({ type: 'integer', minimum, maximum })
const list = (items: Schema): Schema => ({ type: 'array', items })
const texts: Schema = { type: 'object', additionalProperties: text }
/** A digest may follow; alone it cannot stand behind the colon. */
const imageTag: Schema = { type: 'string', pattern: '^([A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@[a-z0-9]+:[0-9a-f]{32,})?)?$' }
/** Passed on to Kubernetes as it is, which has a schema of its own. */
const any: Schema = { type: 'object' }

/** Powers of two, which a node says itself when it starts. */
const PARTITIONS = Array.from({ length: 9 }, (_, i) => 2 ** i)

function settings (): Record<string, Schema> {
  return Object.fromEntries(Object.entries(configSchema.properties as unknown as Record<string, Schema>)
    .filter(([name]) => !isOurs(name) && !SECRET.includes(name))
    .map(([name, { type, minimum, maximum, pattern, enum: choices, description }]) => [name, {
      type,
      ...Object.fromEntries(Object.entries({ minimum, maximum, pattern, enum: choices, description }).filter(([, value]) => value !== undefined)),
      ...name === 'REDIS_PARTITIONS' && { enum: PARTITIONS }
    }]))
}

export function valuesSchema (): Schema {
  const setting = Object.keys(configSchema.properties).filter((name) => !isOurs(name))
  const reference = object({ name: { type: 'string', minLength: 1 }, key: { type: 'string', minLength: 1 } }, { required: ['name', 'key'] })
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the chart "tidings"; made by `npm run ops:files`',
    ...object({
      image: object({ repository: { type: 'string', minLength: 1 }, tag: imageTag, pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] }, pullSecrets: list(any) }),
      replicas: count(1),
      settings: object(settings(), { patternProperties: { [OTEL]: text } }),
      // The chart counts with DRAIN_SECONDS, so it must know it.
      secrets: object(Object.fromEntries(setting.filter((name) => name !== 'DRAIN_SECONDS').map((name) => [name, reference])), { patternProperties: { [OTEL]: reference } }),
      ipv6: flag,
      preStopSeconds: count(1, 300),
      minReadySeconds: count(0, 3600),
      resources: any,
      autoscaling: object({ enabled: flag, minReplicas: count(1), maxReplicas: count(1), streamsPerNode: count(1) }),
      podDisruptionBudget: object({ enabled: flag, maxUnavailable: { type: ['integer', 'string'] } }),
      topologySpread: object({ enabled: flag, whenUnsatisfiable: { enum: ['ScheduleAnyway', 'DoNotSchedule'] } }),
      service: object({ port: count(1, 65_535), annotations: texts }),
      gateway: object({
        enabled: flag,
        hostnames: list(text),
        parentRefs: list(object({ name: { type: 'string', minLength: 1 }, namespace: text, sectionName: text, port: count(1, 65_535) }, { required: ['name'] })),
        create: object({ enabled: flag, className: text, tlsSecret: text, redirect: flag }),
        neverAnErrorStatus: { enum: ['none', 'envoy'] },
        requestSeconds: count(1, 3600),
        docs: flag
      }),
      ingress: object({ enabled: flag, className: text, hosts: list(text), tlsSecret: text, annotations: texts, docs: flag }),
      stub: object({ enabled: flag, image: text, replicas: count(1) }),
      networkPolicy: object({ enabled: flag, from: list(any), redis: object({ to: list(any), ports: list(count(1, 65_535)) }), egress: list(any) }),
      metrics: object({
        serviceMonitor: object({ enabled: flag, interval: { type: 'string', pattern: '^[0-9]+(ms|s|m)$' }, labels: texts }),
        rules: object({ enabled: flag, labels: texts }),
        dashboard: object({ enabled: flag, labels: texts })
      }),
      podSecurityContext: any,
      securityContext: any,
      podAnnotations: texts,
      podLabels: texts,
      nodeSelector: texts,
      tolerations: list(any),
      affinity: any,
      priorityClassName: text,
      extraCa: { anyOf: [{ type: 'object', maxProperties: 0 }, reference] },
      // Helm's own, for charts that have this one inside.
      global: any
    })
  }
}
