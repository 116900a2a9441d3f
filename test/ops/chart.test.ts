// The chart: Helm takes it, Kubernetes' schemas take what comes out, and what comes out keeps the promises of a rollout.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { files } from '../../ops/files.ts'
import { valuesSchema } from '../../ops/helm/values-schema.ts'
import { configSchema } from '../../src/config.ts'
import { makeFolder } from '../fixtures/process.ts'
import { chart, find, type Manifest, read, render, template, valueFiles } from './chart.ts'
import { run, tools } from './tools.ts'

const { helm, kubeconform, schemas, kubernetes, models } = await tools()
const root = join(import.meta.dirname, '../..')
/** Custom resources; kubeconform's schemas are of Kubernetes alone. */
const custom: Record<string, string | undefined> = {
  'gateway.networking.k8s.io': 'gateway-api', 'monitoring.coreos.com': 'prometheus-operator', 'gateway.envoyproxy.io': undefined
}

t.test('value files: at least six', async (t) => { t.ok(valueFiles.size >= 6) })

t.test('files that are made or copied: as `npm run ops:files` makes them', async (t) => {
  for (const [path, make] of Object.entries(files)) t.equal(readFileSync(join(root, 'ops', path), 'utf8'), make(), path)
})

t.test('docs/kubernetes.md, settings that a values file cannot have: those that the schema refuses', async (t) => {
  const page = readFileSync(join(root, 'docs/kubernetes.md'), 'utf8')
  const [, names = ''] = /((?:`[A-Z_]+`,? )+)and every `…_FILE` cannot be set in a values file/.exec(page)!
  const { properties: { settings, secrets } } = valuesSchema() as { properties: Record<string, { properties: object }> }
  const taken = { ...settings!.properties, ...secrets!.properties }
  const refused = Object.keys(configSchema.properties).filter((name) => !(name in taken))
  t.same(refused.filter((name) => !name.endsWith('_FILE')).sort(), [...names.matchAll(/`(\w+)`/g)].map(([, name]) => name!).sort())
  t.same(Object.keys(taken).filter((name) => name.endsWith('_FILE')), [])
})

for (const [name] of valueFiles) {
  t.test(`helm lint and helm template, ${name}: nothing to say, and valid objects of Kubernetes and of its extensions`, async (t) => {
    t.match(run(helm, ['lint', chart, '--strict', '--kube-version', '1.36.0', '--values', valueFiles.get(name)!]), '1 chart(s) linted, 0 chart(s) failed')
    const text = template('--values', valueFiles.get(name)!)
    const objects = read(text)
    const file = join(makeFolder(t), `${name}.yaml`)
    writeFileSync(file, text)
    for (const version of kubernetes) {
      const location = `${schemas}/{{.NormalizedKubernetesVersion}}-local{{.StrictSuffix}}/{{.ResourceKind}}{{.KindSuffix}}.json`
      const customKinds = [...new Set(objects.filter(isCustom).map(({ kind }) => kind))]
      const said = run(kubeconform, ['-strict', '-summary', '-output', 'json', '-kubernetes-version', version, '-schema-location', location, '-skip', customKinds.join(','), file])
      const { summary } = JSON.parse(said) as { summary: Record<string, number> }
      t.match(summary, { valid: objects.length - objects.filter(isCustom).length, invalid: 0, errors: 0 }, `Kubernetes ${version}`)
    }
    for (const object of objects.filter(isCustom)) await validateCustom(object)
    const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`)
    t.equal(new Set(names).size, names.length, 'each once')
    t.notOk(objects.some(({ kind }) => kind === 'Secret'), 'secrets are there already, or it does not start')
  })
}

function isCustom ({ apiVersion }: Manifest): boolean {
  return apiVersion.split('/')[0]! in custom
}

/** Throws what is wrong. Envoy Gateway's one kind has no validator here. */
async function validateCustom (object: Manifest): Promise<void> {
  const [group = '', version] = object.apiVersion.split('/')
  const name = custom[group]
  if (name === undefined) return
  const path = join(models, '@kubernetes-models', name, group, version!, `${object.kind}.js`)
  const { [object.kind]: Model } = await import(pathToFileURL(path).href) as Record<string, new (object: object) => { validate: () => void }>
  new Model!(object).validate()
}

const { default: defaultDrain } = configSchema.properties.DRAIN_SECONDS as { default?: number }

t.test('rollout: one more, never one less, and each leaves before the next begins to', async (t) => {
  for (const [name] of valueFiles) {
    const objects = render(name)
    const { spec } = find(objects, 'Deployment', 'tidings')
    const pod = spec.template.spec
    const [node] = pod.containers
    t.same(spec.strategy, { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } })
    const drain = Number(node.env.find(({ name }: { name: string }) => name === 'DRAIN_SECONDS')?.value ?? defaultDrain)
    const pause = node.lifecycle.preStop.sleep.seconds
    t.ok(pause >= 1, 'every proxy hears that it leaves before it drains')
    t.ok(pod.terminationGracePeriodSeconds > pause + drain + 5, `${name}: ${pod.terminationGracePeriodSeconds} s is above ${pause} + ${drain} + the 5 that a node takes to close`)
    t.ok(spec.minReadySeconds >= pause + drain, 'the next one leaves when this one has')
    t.equal(node.readinessProbe.httpGet.path, '/readyz?for=streams')
    t.equal(node.startupProbe.httpGet.path, '/readyz')
    t.equal(node.livenessProbe.httpGet.path, '/livez')
    t.ok(node.livenessProbe.periodSeconds * node.livenessProbe.failureThreshold >= 60, 'slow to restart')
    const budget = find(objects, 'PodDisruptionBudget')
    t.same(budget.spec.selector.matchLabels, spec.selector.matchLabels)
    t.ok(budget.spec.maxUnavailable)
    t.same(pod.topologySpreadConstraints.map(({ topologyKey }: { topologyKey: string }) => topologyKey), ['topology.kubernetes.io/zone', 'kubernetes.io/hostname'])
  }
})

t.test('rollout, with the longest times that the values take: the deadline is beyond them, as Kubernetes demands', async (t) => {
  for (const args of [[], ['--set', 'settings.DRAIN_SECONDS=3600,preStopSeconds=300'], ['--set', 'minReadySeconds=3600']]) {
    const { spec } = find(render('minimal', ...args), 'Deployment', 'tidings')
    t.ok(spec.progressDeadlineSeconds >= spec.minReadySeconds + 600, `${args[1] ?? 'defaults'}: ${spec.progressDeadlineSeconds} s for ${spec.minReadySeconds}`)
    const { scaleUp, scaleDown } = find(render('autoscaled', ...args), 'HorizontalPodAutoscaler').spec.behavior
    for (const { periodSeconds } of [...scaleUp.policies, ...scaleDown.policies]) t.ok(periodSeconds <= 1800, `${args[1] ?? 'defaults'}: ${periodSeconds} s, of 1,800 that Kubernetes allows`)
  }
})

t.test('image by tag and digest: both in the image\'s name, only the tag in the label; a digest alone: refused', async (t) => {
  const digest = `sha256:${'0123456789abcdef'.repeat(4)}`
  t.match(find(render('minimal', '--set', `image.tag=0.2.0@${digest}`), 'Deployment').spec.template, { metadata: { labels: { 'app.kubernetes.io/version': '0.2.0' } }, spec: { containers: [{ image: `tidings:0.2.0@${digest}` }] } })
  t.throws(() => render('minimal', '--set', `image.tag=${digest}`), /\/image\/tag/)
})

t.test('private registry, machines of a kind: every pod gets its image and may run somewhere', async (t) => {
  const objects = render('autoscaled', '--set', 'image.pullSecrets[0].name=registry,stub.enabled=true')
  const pods = [find(objects, 'Deployment', 'tidings').spec.template.spec, find(objects, 'Deployment', '-stub').spec.template.spec, find(objects, 'Pod').spec]
  for (const pod of pods) t.match(pod, { imagePullSecrets: [{ name: 'registry' }], tolerations: [{ key: 'pool' }] })
  t.same(pods.map(({ nodeSelector }) => nodeSelector), [{ pool: 'streams' }, undefined, { pool: 'streams' }])
})

t.test('pods: not root, nothing to write, no capability, no token of the cluster', async (t) => {
  for (const [name] of valueFiles) {
    const objects = render(name)
    const pods = objects.flatMap((object) => object.kind === 'Pod' ? [object.spec] : object.kind === 'Deployment' ? [object.spec.template.spec] : [])
    t.ok(pods.length >= 2)
    for (const pod of pods) {
      t.match(pod, { automountServiceAccountToken: false, securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } })
      for (const { securityContext, resources } of pod.containers) {
        t.same(securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } })
        t.match(resources, { requests: { cpu: String, memory: String }, limits: { memory: String } })
      }
    }
  }
})

t.test('gateway: a stream has no time limit, the rest has, and what is for inside is not routed', async (t) => {
  const objects = render('gateway')
  const [stream] = find(objects, 'HTTPRoute', '-streams').spec.rules
  t.same(stream.timeouts, { request: '0s', backendRequest: '0s' })
  t.same(stream.matches, [{ path: { type: 'PathPrefix', value: '/api/notifications/subscribe' } }])
  const [rest] = find(objects, 'HTTPRoute', 'tidings').spec.rules
  t.match(rest.timeouts.request, /^[1-9]\d*s$/)
  t.same(rest.matches.map(({ path }: { path: { value: string } }) => path.value), ['/api', '/client.js', '/client'])
  t.same(find(objects, 'Gateway').spec.listeners.map(({ protocol }: { protocol: string }) => protocol), ['HTTP', 'HTTPS'])
  t.match(find(objects, 'HTTPRoute', '-to-https').spec, { parentRefs: [{ sectionName: 'http' }], rules: [{ filters: [{ type: 'RequestRedirect' }] }] })
  for (const route of ['-streams', 'tidings']) t.same(find(objects, 'HTTPRoute', route).spec.parentRefs, [{ name: 'news-tidings', sectionName: 'https' }])
  const paths = find(render('ingress'), 'Ingress', 'tidings').spec.rules[0].http.paths.map(({ path }: { path: string }) => path)
  t.same(paths, ['/api', '/client', '/client.js', '/docs'])
})

t.test('never an error status: what Envoy Gateway answers itself becomes 200 and a wait, on the streams alone', async (t) => {
  const { spec } = find(render('gateway'), 'BackendTrafficPolicy')
  t.same(spec.targetRefs, [{ group: 'gateway.networking.k8s.io', kind: 'HTTPRoute', name: 'news-tidings-streams' }])
  const [{ match, response }] = spec.responseOverride
  t.same(match.statusCodes.map(({ value }: { value: number }) => value), [502, 503, 504])
  t.match(response, { statusCode: 200, contentType: /^text\/event-stream/, body: { inline: /^retry: \d+\nevent: ping\ndata: \{\}\n\n$/ } })
  const ingress = find(render('ingress'), 'Ingress', '-streams').metadata.annotations
  t.equal(ingress['nginx.ingress.kubernetes.io/default-backend'], 'news-tidings-stub')
  t.equal(ingress['nginx.ingress.kubernetes.io/custom-http-errors'], '502,503,504')
  t.notOk('nginx.ingress.kubernetes.io/custom-http-errors' in find(render('ingress'), 'Ingress', 'tidings').metadata.annotations, 'a publisher is told')
})

t.test('annotations and labels, of the values and of the chart with one name: each once, that of the values but where pods are found by it', async (t) => {
  const file = join(makeFolder(t), 'values.yaml')
  const version = 'app.kubernetes.io/version'
  writeFileSync(file, JSON.stringify({
    ingress: { annotations: { 'nginx.ingress.kubernetes.io/proxy-body-size': '8m', 'nginx.ingress.kubernetes.io/proxy-read-timeout': '600', 'nginx.ingress.kubernetes.io/custom-http-errors': '' } },
    podLabels: { [version]: 'mine', 'app.kubernetes.io/component': 'mine', team: 'news' },
    metrics: Object.fromEntries(['serviceMonitor', 'rules', 'dashboard'].map((name) => [name, { enabled: true, labels: { [version]: 'mine' } }]))
  }))
  // Reading refuses a name that stands twice.
  const objects = render('ingress', '--values', file)
  const [streams, others] = ['-streams', 'tidings'].map((end) => find(objects, 'Ingress', end).metadata.annotations)
  t.match(streams, { 'nginx.ingress.kubernetes.io/proxy-read-timeout': '600', 'nginx.ingress.kubernetes.io/custom-http-errors': '', 'nginx.ingress.kubernetes.io/proxy-buffering': 'off' })
  t.equal(others!['nginx.ingress.kubernetes.io/proxy-body-size'], '8m')
  const { selector, template: { metadata: { labels } } } = find(objects, 'Deployment').spec
  t.match(labels, { ...selector.matchLabels, [version]: 'mine', team: 'news' })
  t.equal(selector.matchLabels['app.kubernetes.io/component'], 'node')
  for (const [kind, end] of [['ServiceMonitor', ''], ['PrometheusRule', ''], ['ConfigMap', '-dashboard']] as const) t.equal(find(objects, kind, end).metadata.labels[version], 'mine', kind)
})

t.test('autoscaling: by tidings_streams, down slowly; the number of nodes is left to it', async (t) => {
  const objects = render('autoscaled')
  t.notOk('replicas' in find(objects, 'Deployment').spec)
  const { spec } = find(objects, 'HorizontalPodAutoscaler')
  t.match(spec, { minReplicas: 5, maxReplicas: 40, metrics: [{ type: 'Pods', pods: { metric: { name: 'tidings_streams' }, target: { averageValue: '8000' } } }] })
  const [down] = spec.behavior.scaleDown.policies
  t.ok(down.value === 1 && down.periodSeconds >= 60)
  const value = (name: string) => find(objects, 'Deployment').spec.template.spec.containers[0].env.find((one: { name: string }) => one.name === name)?.value
  t.equal(value('STREAM_BUFFER_BYTES'), '1073741824', 'a large number is written out')
  t.equal(value('MAX_STREAMS'), '12000')
})

t.test('network policy: in from those that are named, out to names, Redis, and the key server if there is one', async (t) => {
  const ports = (values: string) => find(render(values), 'NetworkPolicy').spec.egress.map((rule: { ports: { port: number }[] }) => rule.ports.map(({ port }) => port))
  t.same(ports('minimal'), [[53, 53], [6379]])
  t.same(ports('autoscaled'), [[53, 53], [6379], [443]])
  t.same(ports('gateway'), [[53, 53], [6379], [4318]])
  const from = find(render('gateway'), 'NetworkPolicy').spec.ingress[0].from
  t.equal(from.length, 3)
  t.same(from[2].podSelector.matchLabels, find(render('gateway'), 'Pod').metadata.labels, 'and the pod of `helm test`')
  for (const [url, port] of [['https://id.example:8443/keys', 8443], ['http://id.example/keys', 80], ['https://[fd00::1]/keys', 443]] as const) {
    const policy = find(render('autoscaled', '--set', `settings.JWKS_URL=${url}`), 'NetworkPolicy')
    t.equal(policy.spec.egress[2].ports[0].port, port, url)
  }
})

t.test('network policy, REDIS_URL with another port than it lets out to: refused, with a sentence', async (t) => {
  const redis = (url: string, ...ports: string[]) => () => render('autoscaled', '--set-string', `settings.REDIS_URL=${url.replaceAll(',', '\\,')}`, ...ports.flatMap((one) => ['--set', one]))
  t.throws(redis('redis://redis:6380'), /REDIS_URL leads to port 6380, which networkPolicy\.redis\.ports does not have/)
  t.throws(redis('redis+cluster://:pa:1ss@a,b:7000'), /port 7000/)
  t.doesNotThrow(redis('redis://sentinel-like-name'))
  const both = /It must have the Sentinels' ports and the masters', for example \[26379, 6379\]/
  for (const scheme of ['redis', 'rediss']) t.throws(redis(`${scheme}+sentinel://a,b/main`), new RegExp(`port 26379.*${both.source}`))
  t.throws(redis('redis+sentinel://a,b:1/main', 'networkPolicy.redis.ports={1,26379}'), new RegExp(`only the Sentinels' ports.*${both.source}`))
  t.doesNotThrow(redis('rediss://user:pa:1234@redis/2?x=:1'))
  t.doesNotThrow(redis('redis+sentinel://a,b/main', 'networkPolicy.redis.ports={6379,26379}'))
  t.doesNotThrow(redis('redis://redis:6380', 'networkPolicy.enabled=false'))
  // In a NetworkPolicy no ports are all ports, to everywhere.
  for (const none of [['--set', 'networkPolicy.redis.ports=null'], ['--set-json', 'networkPolicy.redis.ports=[]']]) {
    t.throws(() => render('minimal', ...none), /networkPolicy\.redis\.ports must have the port of Redis/)
  }
})

t.test('names that YAML takes for something else than text: text all the same', async (t) => {
  const sets = ['priorityClassName=1e3', 'gateway.create.className=on', 'gateway.create.tlsSecret=123', 'ingress.className=true', 'ingress.tlsSecret=null', 'extraCa.name=1', 'extraCa.key=2',
    `image.tag=${'1'.repeat(62)}-rc.1`, 'ingress.enabled=true', 'stub.enabled=true']
  const text = run(helm, ['template', '1234', chart, '--kube-version', '1.36.0', '--values', valueFiles.get('gateway')!, '--set', 'ingress.enabled=true,stub.enabled=true,ingress.hosts={a.example}',
    ...sets.slice(0, -2).flatMap((set) => ['--set-string', set])])
  const wrong: string[] = []
  const look = (value: unknown, path: string): void => {
    if (typeof value === 'object' && value !== null) for (const [key, one] of Object.entries(value)) look(one, `${path}.${key}`)
    else if (/(labels|matchLabels|annotations)\.[^.]*|\.(name|.*[cC]lassName|secretName|value|path)$/.test(path) && !/Code|statusCodes/.test(path) && typeof value !== 'string') wrong.push(`${path}: ${String(value)}`)
  }
  const objects = read(text)
  for (const object of objects) look(object, object.kind)
  t.same(wrong, [])
  t.equal(find(objects, 'Deployment', '1234').metadata.labels['app.kubernetes.io/version'], '1'.repeat(62), 'a label is no longer than 63')
})

t.test('ipv6 and traces: nodes and stub listen on both, and OpenTelemetry\'s variables are handed on', async (t) => {
  const env = (name: string) => find(render('gateway'), 'Deployment', 'tidings').spec.template.spec.containers[0].env.find((one: { name: string }) => one.name === name)?.value
  t.same(['HOST', 'OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_TRACES_SAMPLER_ARG'].map(env), ['::', 'http://collector.monitoring:4318', '0.1'])
  const stub = (...args: string[]) => find(render('ingress', ...args), 'ConfigMap', '-stub').data['nginx.conf']
  t.match(stub('--set', 'ipv6=true'), 'listen [::]:8080 ipv6only=off backlog=')
  t.match(stub(), '    listen 8080 backlog=')
})

t.test('watching: the monitor finds the nodes and not the stub, the rules and the dashboard are those of ops/', async (t) => {
  const objects = render('gateway')
  const service = find(objects, 'Service')
  for (const [label, value] of Object.entries(find(objects, 'ServiceMonitor').spec.selector.matchLabels)) t.equal((service.metadata as any).labels[label], value)
  t.same(find(objects, 'PrometheusRule').spec, read(readFileSync(join(root, 'ops/prometheus/rules.yml'), 'utf8'))[0])
  t.same(JSON.parse(find(objects, 'ConfigMap', '-dashboard').data['tidings.json']), JSON.parse(readFileSync(join(root, 'ops/grafana/dashboard.json'), 'utf8')))
})

t.test('values that cannot be meant: refused, with a sentence', async (t) => {
  const minimal = valueFiles.get('minimal')!
  for (const [set, sentence] of [
    [['settings.HEARTBEAT=5'], /HEARTBEAT/],
    [['settings.HEARTBEAT_SECONDS=0'], /HEARTBEAT_SECONDS/],
    [['settings.JWT_SECRET=x'], /JWT_SECRET/],
    [['settings.PORT=80'], /PORT/],
    [['settings.REDIS_PARTITIONS=3'], /REDIS_PARTITIONS/],
    [['secrets.JWT_PUBLIC_KEY.name=a', 'secrets.JWT_PUBLIC_KEY.key=b'], /exactly one of/],
    [['settings.REDIS_URL=redis://redis'], /REDIS_URL stands under settings and under secrets/],
    [['gateway.parentRefs=null'], /must name the gateway to join/],
    [['gateway.create.enabled=true'], /GatewayClass/],
    [['ingress.enabled=true'], /at least one host/],
    [['autoscaling.enabled=true', 'autoscaling.minReplicas=11'], /autoscaling\.minReplicas \(11\) must not be above autoscaling\.maxReplicas \(10\)/],
    [['secrets.DRAIN_SECONDS.name=a', 'secrets.DRAIN_SECONDS.key=b'], /DRAIN_SECONDS/],
    [['settings.OTEL_TRACES_SAMPLER_ARG=1'], /OTEL_TRACES_SAMPLER_ARG/],
    [['replica=3'], /replica/]
  ] as Array<[string[], RegExp]>) t.throws(() => template('--values', minimal, ...set.flatMap((one) => ['--set', one])), sentence, set.join(' '))
  t.throws(() => template(), /exactly one of/, 'nothing is said')
  t.throws(() => template('--set', 'settings.JWKS_URL=https://id.example/keys'), /REDIS_URL is needed/)
})

t.test('settings of the chart: every one that a node has, none that the chart sets itself', async (t) => {
  const { properties } = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8'))
  const names = new Set([...Object.keys(properties.settings.properties), ...Object.keys(properties.secrets.properties)])
  // Two are for nodes without Kubernetes: its probes know one port, and each pod has an address of its own.
  t.same([...names, 'HOST', 'PORT', 'NODE_NAME', 'OPS_PORT', 'REUSE_PORT'].sort(), Object.keys(configSchema.properties).filter((name) => !name.endsWith('_FILE')).sort())
})

t.test('settings with a $ in their value: reach the node as they are', async (t) => {
  const [container] = find(render('minimal', '--set', 'settings.JWT_ISSUER=$(HOST)/$$(PORT)'), 'Deployment').spec.template.spec.containers
  t.equal(container.env.find(({ name }: { name: string }) => name === 'JWT_ISSUER').value, '$$(HOST)/$$$$(PORT)')
})

t.test('release whose name begins with a digit: its names begin with a letter, as a Service\'s must', async (t) => {
  const objects = read(run(helm, ['template', '7', chart, '--kube-version', '1.36.0', '--values', valueFiles.get('minimal')!]))
  for (const { kind, metadata: { name } } of objects) t.match(name, /^[a-z]([-a-z0-9]*[a-z0-9])?$/, kind)
})

t.test('release with a long name: the job of the rules, which is the name of the Service, still has "tidings" in it', async (t) => {
  const releases = ['a-notification-service-of-a-big-department-eu1', 'a-name-of-which-only-the-end-says-it-is-of-tidings', '1-notification-service-of-a-big-department-eu1']
  for (const release of releases) {
    const objects = read(run(helm, ['template', release, chart, '--kube-version', '1.36.0', '--values', valueFiles.get('minimal')!]))
    t.match(find(objects, 'Service').metadata.name, /tidings/)
    for (const { kind, metadata: { name } } of objects) t.match(name, /^[a-z][-a-z0-9]{0,61}[a-z0-9]$/, kind)
  }
})
