// The dashboard and the rules on a real Prometheus that scrapes two real nodes under light load: no query is empty, none is wrong.
// And the observe profile of docker-compose.yml: what it mounts is there, and fits together.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { startCluster } from '../fixtures/cluster.ts'
import { freePort, makeFolder, spawnChild } from '../fixtures/process.ts'
import { eventually } from '../fixtures/wait.ts'
import { run, tools } from './tools.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const { prometheus, grafana } = await tools()

interface Target { expr: string }
interface Panel { title: string, type: string, targets?: Target[] }
const dashboard = JSON.parse(read('ops/grafana/dashboard.json')) as { panels: Panel[], templating: { list: { name: string, type: string, query: any }[] } }

t.test('dashboard and rules, two nodes under load: each query has a value, each metric that is named exists', async (t) => {
  const { nodes, client, redis, call } = await startCluster(t, { count: 2, env: { HEARTBEAT_SECONDS: '1', REDIS_PARTITIONS: '2' } })
  const prefixes = await redis.cli('LRANGE', `${redis.prefix}:partitions`, 0, -1) as string[]
  t.equal(prefixes.length, 2)
  const url = await startPrometheus(t, nodes.map(({ port }) => port))
  const ask = async (path: string, query: Record<string, string>): Promise<any> => {
    const answer = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(query).toString()}`)
    return await answer.json()
  }

  const clients = Array.from({ length: 6 }, (_, i) => client(t, { sub: `u${i >> 1}`, groups: ['g'] }, { url: nodes[i % 2]!.url }))
  await Promise.all(clients.map(async (one) => await one.live()))
  let isOver = false
  const load = (async () => {
    for (let i = 0; !isOver; i++) {
      await call('POST', `${nodes[i % 2]!.url}/api/notifications`, { to: i % 2 === 0 ? 'all' : `user:u${i % 3}`, data: { i } })
      await redis.cli('PUBLISH', `${prefixes[i % 2]!}:group:g`, i % 5 === 0 ? 'nonsense' : '{"data":1}')
      if (i % 10 === 0) clients[i % 6]!.drop()
      if (i % 10 === 5) await fetch(`${nodes[0]!.url}/api/notifications/subscribe`, { headers: { authorization: 'Bearer none' } }).then(async (answer) => await answer.text())
      await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
  })()
  t.teardown(async () => {
    isOver = true
    await load
  })

  const queries = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr: substitute(expr) })))
  t.ok(queries.length > 40, `${queries.length} queries of ${dashboard.panels.length} panels`)
  for (const { title, expr } of queries) {
    const answer = await eventually(async () => await ask('query', { query: expr }), ({ status, data }) => status === 'error' || (data.result.length > 0 && data.result.every(({ value }: { value: [number, string] }) => value[1] !== 'NaN')), {
      what: `has "${title}" a value: ${expr}`
    })
    t.equal(answer.status, 'success', `${title}: ${answer.error ?? expr}`)
  }
  for (const { name, query } of dashboard.templating.list.filter(({ type }) => type === 'query')) {
    const [, label] = /, (\w+)\)$/.exec(query.query)!
    t.ok((await ask(`label/${label}/values`, { 'match[]': 'tidings_streams' })).data.length > 0, name)
  }

  const { data: { groups } } = await ask('rules', {})
  const rules = groups.flatMap((group: { rules: object[] }) => group.rules) as { name: string, type: string, health: string, lastError?: string, query: string }[]
  t.ok(rules.length > 25)
  await eventually(async () => (await ask('rules', {})).data.groups.flatMap((group: { rules: { health: string }[] }) => group.rules), (all) => all.every(({ health }: { health: string }) => health === 'ok'), { what: 'does Prometheus evaluate all rules' })
  const names = new Set([...rules.map(({ query }) => query), ...queries.map(({ expr }) => expr)].flatMap((expr) => expr.match(/\b(tidings|nodejs|process|job:tidings)_\w+(:\w+)*|\bjob:tidings_\w+:\w+/g) ?? []))
  t.ok(names.size > 30)
  for (const name of names) await eventually(async () => await ask('query', { query: `count({__name__="${name}"})` }), ({ data }) => data.result.length > 0, { what: `is there a metric ${name}` })
  const firing = (await ask('query', { query: 'ALERTS{alertstate="firing"}' })).data.result.map(({ metric }: { metric: { alertname: string } }) => metric.alertname)
  t.same(firing, [], 'and none fires')
})

/** What Grafana puts in the place of its variables. */
function substitute (expr: string): string {
  return expr.replaceAll('$job', '.*').replaceAll('$node', '.*').replaceAll('$__rate_interval', '10s')
}

/** Prometheus with ops/prometheus/prometheus.yml, but nodes by their ports and seconds for minutes. */
async function startPrometheus (t: Parameters<typeof makeFolder>[0], ports: number[]): Promise<string> {
  const folder = makeFolder(t)
  const [, discovery] = /\n( {4}dns_sd_configs:\n(?: {6}.*\n?)+)/.exec(read('ops/prometheus/prometheus.yml'))!
  const configuration = read('ops/prometheus/prometheus.yml')
    .replace(discovery!, `    static_configs: [{ targets: [${ports.map((port) => `"127.0.0.1:${port}"`).join(', ')}] }]\n`)
    .replaceAll(/(scrape|evaluation)_interval: \S+/g, '$1_interval: 1s')
  writeFileSync(join(folder, 'prometheus.yml'), configuration)
  writeFileSync(join(folder, 'rules.yml'), read('ops/prometheus/rules.yml').replaceAll(/^ {4}interval: .*$/gm, '    interval: 1s'))
  const port = await freePort()
  // The options of docker-compose.yml, in places of our own.
  const options = (parse(read('docker-compose.yml')) as { services: Record<string, { command: string[] }> }).services.prometheus!.command
  const ours = ['--config.file', '--storage.tsdb.path'] as const
  const child = spawnChild(t, prometheus, [
    ...options.filter((option) => !ours.some((name) => option.startsWith(name))),
    `--config.file=${join(folder, 'prometheus.yml')}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${port}`
  ], { name: 'prometheus' })
  await child.waitForLine(/Server is ready to receive web requests/)
  return `http://127.0.0.1:${port}`
}

t.test('observe profile: three services for this machine alone, whose files are there and name each other rightly', async (t) => {
  const { services } = parse(read('docker-compose.yml')) as { services: Record<string, { profiles?: string[], image: string, ports?: string[], volumes?: string[], environment?: Record<string, string> }> }
  const observed = Object.entries(services).filter(([, { profiles }]) => profiles?.includes('observe'))
  t.same(observed.map(([name]) => name), ['prometheus', 'grafana', 'traces'])
  for (const [name, { image, ports = [], volumes = [] }] of observed) {
    t.match(image, /:v?\d+\.\d+\.\d+$/, `${name}: a version`)
    for (const port of ports) t.match(port, /^127\.0\.0\.1:/, name)
    for (const [source = ''] of volumes.map((volume) => volume.split(':')).filter(([source]) => source!.startsWith('.'))) t.ok(existsSync(join(root, source)), source)
  }
  const { grafana, node } = services as Record<'grafana' | 'node', { volumes: string[], environment: Record<string, string>, profiles?: string[] }>
  t.notOk(node.profiles, 'nodes start without it')
  const provider = parse(read('ops/grafana/provisioning/dashboards/tidings.yml')).providers[0].options.path as string
  t.ok(grafana.volumes.some((volume) => volume.includes(`:${provider}/`)), 'the dashboard stands where it is looked for')
  t.ok(grafana.environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH!.startsWith(provider))
  const { datasources } = parse(read('ops/grafana/provisioning/datasources/tidings.yml')) as { datasources: { uid: string, url: string, jsonData?: any }[] }
  for (const { url } of datasources) t.ok(new URL(url).hostname in services, url)
  t.ok(datasources.some(({ uid }) => uid === datasources[0]!.jsonData.exemplarTraceIdDestinations[0].datasourceUid))
})

t.test('dashboard, read strictly by the types that Grafana publishes: nothing to say', (t) => {
  const text = read('ops/grafana/dashboard.json')
  t.equal(run(grafana, [], { input: text }), `${dashboard.panels.length} panels\n`)
  t.throws(() => run(grafana, [], { input: text.replace('"targets"', '"target"') }), /target/, 'it would')
  t.end()
})

t.test('provisioning, of Grafana: nothing but what its documentation names', (t) => {
  // https://grafana.com/docs/grafana/latest/administration/provisioning/; Grafana passes over a field that it does not know.
  const known = {
    'datasources/tidings.yml': ['apiVersion', 'deleteDatasources', 'prune', 'datasources',
      ...['name', 'type', 'access', 'orgId', 'uid', 'url', 'isDefault', 'jsonData', 'secureJsonData', 'version', 'editable'].map((name) => `datasources.${name}`),
      ...['httpMethod', 'timeInterval', 'exemplarTraceIdDestinations', 'exemplarTraceIdDestinations.name', 'exemplarTraceIdDestinations.datasourceUid', 'exemplarTraceIdDestinations.url', 'exemplarTraceIdDestinations.urlDisplayLabel']
        .map((name) => `datasources.jsonData.${name}`)],
    'dashboards/tidings.yml': ['apiVersion', 'providers',
      ...['name', 'orgId', 'folder', 'folderUid', 'type', 'disableDeletion', 'updateIntervalSeconds', 'allowUiUpdates', 'options', 'options.path', 'options.foldersFromFilesStructure'].map((name) => `providers.${name}`)]
  }
  const namesOf = (value: unknown, path = ''): string[] => {
    if (Array.isArray(value)) return value.flatMap((one) => namesOf(one, path))
    if (typeof value !== 'object' || value === null) return []
    return Object.entries(value).flatMap(([name, one]) => [`${path}${name}`, ...namesOf(one, `${path}${name}.`)])
  }
  for (const [file, names] of Object.entries(known)) {
    const content = parse(read(`ops/grafana/provisioning/${file}`)) as { apiVersion: number }
    t.equal(content.apiVersion, 1, file)
    t.same(namesOf(content).filter((name) => !names.includes(name)), [], file)
  }
  t.end()
})
