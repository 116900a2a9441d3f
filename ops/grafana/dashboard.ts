// The Grafana dashboard, as data: rows of panels, each with its queries. `npm run ops:files` writes dashboard.json.

interface Query { expr: string, legend: string, exemplar?: boolean }
interface Panel { title: string, description: string, unit: string, queries: Query[], kind?: 'stat' | 'timeseries', min?: number, max?: number, stack?: boolean, thresholds?: Array<[value: number | null, color: string]> }
interface Row { title: string, panels: Panel[] }

/** Those of a job; and, where nodes are told apart, of the nodes that are chosen. */
const JOB = 'job=~"$job"'
const NODE = 'job=~"$job",node=~"$node"'
const RATE = '$__rate_interval'

const rate = (metric: string, by: string, labels = NODE): string => `sum by (${by}) (rate(${metric}{${labels}}[${RATE}]))`
const quantile = (q: number, metric: string, by = ''): string => `histogram_quantile(${q}, sum by (le${by}) (rate(${metric}_bucket{${NODE}}[${RATE}])))`

const rows: Row[] = [{
  title: 'The promise: of all streams the share that hears, times the share of notifications that are written within a second',
  panels: [
    { title: 'Streams', description: 'Open streams, on all nodes.', unit: 'short', kind: 'stat', queries: [{ expr: `sum(tidings_streams{${JOB}})`, legend: 'streams' }] },
    {
      title: 'Hearing',
      description: 'Streams that are not waiting for Redis.',
      unit: 'percentunit',
      kind: 'stat',
      max: 1,
      thresholds: [[null, 'red'], [0.99, 'orange'], [0.999, 'green']],
      queries: [{ expr: `sum(job:tidings_streams_hearing:sum{${JOB}}) / sum(job:tidings_streams:sum{${JOB}})`, legend: 'hearing' }]
    },
    {
      title: 'Budget left of 30 days',
      description: '0.1 % may be broken in 30 days (or since Prometheus knows). Below zero: more was.',
      unit: 'percentunit',
      kind: 'stat',
      max: 1,
      thresholds: [[null, 'red'], [0, 'orange'], [0.5, 'green']],
      queries: [{ expr: `1 - avg(avg_over_time(job:tidings_broken:ratio5m{${JOB}}[30d])) / 0.001`, legend: 'left' }]
    },
    {
      title: 'Nodes',
      description: 'Those that answer, and those that hear.',
      unit: 'short',
      kind: 'stat',
      queries: [{ expr: `sum(up{${JOB}})`, legend: 'answer' }, { expr: `sum(tidings_broker_up{${JOB}})`, legend: 'hear' }]
    },
    {
      title: 'Broken',
      description: 'The share of the promise that was broken. TidingsBudgetBurnsFast looks at these.',
      unit: 'percentunit',
      min: 0,
      queries: ['5m', '1h', '6h'].map((window) => ({ expr: `max(job:tidings_broken:ratio${window}{${JOB}})`, legend: `in ${window}` }))
    },
    {
      title: 'Publish to write',
      description: 'From publishing (the id) to the write to the streams of a node.',
      unit: 's',
      min: 0,
      queries: [0.5, 0.9, 0.99].map((q) => ({ expr: quantile(q, 'tidings_publish_to_write_seconds'), legend: `p${q * 100}`, exemplar: true }))
    }
  ]
}, {
  title: 'Delivery',
  panels: [
    {
      title: 'Notifications a second',
      description: 'Published over HTTP, arrived for a stream of the node, replayed from the logs.',
      unit: 'ops',
      min: 0,
      queries: [
        { expr: rate('tidings_published_total', 'job'), legend: 'published over HTTP' },
        { expr: rate('tidings_received_total', 'job'), legend: 'arrived' },
        { expr: rate('tidings_replayed_total', 'job'), legend: 'replayed' }
      ]
    },
    { title: 'Deliveries a second', description: 'One for each notification and stream, by node.', unit: 'ops', min: 0, stack: true, queries: [{ expr: rate('tidings_delivered_total', 'node'), legend: '{{node}}' }] },
    { title: 'Dropped channel messages', description: 'Messages that cannot be delivered, by reason.', unit: 'ops', min: 0, queries: [{ expr: rate('tidings_dropped_total', 'reason'), legend: '{{reason}}' }] },
    {
      title: 'Unsent',
      description: 'Bytes that wait for clients who do not read, by node. A stream is cut past STREAM_BUFFER_BYTES.',
      unit: 'bytes',
      min: 0,
      stack: true,
      queries: [{ expr: `sum by (node) (tidings_buffered_bytes{${NODE}})`, legend: '{{node}}' }]
    },
    { title: 'Slow streams', description: 'Streams whose clients have not read everything yet, by node.', unit: 'short', min: 0, stack: true, queries: [{ expr: `sum by (node) (tidings_slow_streams{${NODE}})`, legend: '{{node}}' }] },
    { title: 'Most unsent of one client', description: 'Near STREAM_BUFFER_BYTES: that client is cut next.', unit: 'bytes', min: 0, queries: [{ expr: `max by (node) (tidings_buffered_bytes_max{${NODE}})`, legend: '{{node}}' }] },
    { title: 'Gathered', description: 'Streams that collect messages for their next write, by node. Under load nearly all.', unit: 'short', min: 0, queries: [{ expr: `sum by (node) (tidings_gathered_streams{${NODE}})`, legend: '{{node}}' }] }
  ]
}, {
  title: 'Streams',
  panels: [
    { title: 'Streams by node', description: 'Uneven after a rollout: the balancer does not choose the emptiest node.', unit: 'short', min: 0, stack: true, queries: [{ expr: `sum by (node) (tidings_streams{${NODE}})`, legend: '{{node}}' }] },
    {
      title: 'Users and channels',
      description: 'Users with a stream; channels that nodes are subscribed to.',
      unit: 'short',
      min: 0,
      queries: [{ expr: `sum(tidings_users{${NODE}})`, legend: 'users' }, { expr: `sum(tidings_channels{${NODE}})`, legend: 'channels' }]
    },
    { title: 'Opened', description: 'Streams opened a second, by node.', unit: 'ops', min: 0, stack: true, queries: [{ expr: rate('tidings_streams_opened_total', 'node'), legend: '{{node}}' }] },
    { title: 'Ended, by reason', description: 'client: the page was closed or the connection broke. slow, unavailable: look here first.', unit: 'ops', min: 0, queries: [{ expr: rate('tidings_streams_ended_total', 'reason'), legend: '{{reason}}' }] },
    { title: 'Syncs, by what they said', description: 'incomplete: history was trimmed or lost, and the page must fetch its state again.', unit: 'ops', min: 0, queries: [{ expr: rate('tidings_syncs_total', 'resume'), legend: '{{resume}}' }] },
    {
      title: 'Waiting and refilled',
      description: 'Streams that wait for the broker, and streams that were filled from the logs, a second.',
      unit: 'short',
      min: 0,
      queries: [{ expr: `sum(tidings_streams_waiting{${NODE}})`, legend: 'waiting' }, { expr: rate('tidings_refills_total', 'job'), legend: 'refilled a second' }]
    },
    { title: 'Refused, by code', description: 'docs/reference.md says what each code means and what to do.', unit: 'ops', min: 0, queries: [{ expr: rate('tidings_refused_total', 'code'), legend: '{{code}}' }] },
    { title: 'Tokens not taken, by reason', description: 'signature, unknown-key, issuer, audience: tokens of another service. expired: pages that do not renew their token.', unit: 'ops', min: 0, queries: [{ expr: rate('tidings_token_failures_total', 'reason'), legend: '{{reason}}' }] },
    { title: 'Tickets not taken, by reason', description: 'unknown: or older than 30 s. spent: used again without the cookie of its first use.', unit: 'ops', min: 0, queries: [{ expr: rate('tidings_ticket_failures_total', 'reason'), legend: '{{reason}}' }] }
  ]
}, {
  title: 'Redis',
  panels: [
    { title: 'Hearing, by node', description: '1: published messages arrive.', unit: 'short', min: 0, max: 1, queries: [{ expr: `min by (node) (tidings_broker_up{${NODE}})`, legend: '{{node}}' }] },
    { title: 'Deaf', description: 'Share of the time in which a node received nothing.', unit: 'percentunit', min: 0, queries: [{ expr: `sum by (node) (rate(tidings_pubsub_deaf_seconds_total{${NODE}}[${RATE}]))`, legend: '{{node}}' }] },
    { title: 'Round trip', description: 'Each node makes one call a second; this is the last one.', unit: 's', min: 0, queries: [{ expr: `max by (node) (tidings_redis_round_trip_seconds{${NODE}})`, legend: '{{node}}' }] },
    {
      title: 'Calls',
      description: 'Time from sending a command to Redis until its answer. Commands of one moment go together.',
      unit: 's',
      min: 0,
      queries: [0.5, 0.9, 0.99].map((q) => ({ expr: quantile(q, 'tidings_redis_call_seconds'), legend: `p${q * 100}` }))
    },
    {
      title: 'Waiting for Redis',
      description: 'Commands that it has not answered, and questions that are gathered for the next call. Growing: Redis does not keep up.',
      unit: 'short',
      min: 0,
      queries: [{ expr: `sum(tidings_redis_calls_waiting{${NODE}})`, legend: 'not answered' }, { expr: `sum by (kind) (tidings_redis_gathered{${NODE}})`, legend: '{{kind}}' }]
    },
    { title: 'Partitions, heard', description: 'With several partitions: 0 is one that is away, for its own users.', unit: 'short', min: 0, max: 1, queries: [{ expr: `max by (partition) (tidings_partition_up{${NODE}})`, legend: '{{partition}}' }] },
    { title: 'Partitions, round trip', description: 'Which partition is slow.', unit: 's', min: 0, queries: [{ expr: `max by (partition) (tidings_partition_round_trip_seconds{${NODE}})`, legend: '{{partition}}' }] },
    { title: 'Partitions, owed', description: 'Notifications of a partition that have not reached all others, at most 100,000.', unit: 'short', min: 0, queries: [{ expr: `max by (partition) (tidings_partition_owed{${NODE}})`, legend: '{{partition}}' }] },
    {
      title: 'Memory of Redis',
      description: 'Share of what Redis may use (0: no limit), and warnings that /readyz puts into words.',
      unit: 'percentunit',
      min: 0,
      queries: [{ expr: `max(tidings_redis_memory_used_ratio{${NODE}})`, legend: 'used' }, { expr: `max(tidings_broker_warnings{${NODE}})`, legend: 'warnings' }]
    },
    { title: 'Clocks', description: 'How far the clock of a node is ahead of that of Redis.', unit: 's', queries: [{ expr: `max by (node) (tidings_clock_difference_seconds{${NODE}})`, legend: '{{node}}' }] }
  ]
}, {
  title: 'Processes',
  panels: [
    { title: 'CPU', description: 'Cores in use, by node. One event loop is one core.', unit: 'short', min: 0, queries: [{ expr: `sum by (node) (rate(process_cpu_seconds_total{${NODE}}[${RATE}]))`, legend: '{{node}}' }] },
    { title: 'Event loop lag', description: 'How long work waits for its turn.', unit: 's', min: 0, queries: [{ expr: `max by (node) (nodejs_eventloop_lag_p99_seconds{${NODE}})`, legend: '{{node}} p99' }] },
    {
      title: 'Memory',
      description: 'Resident, and of it the heap of JavaScript.',
      unit: 'bytes',
      min: 0,
      queries: [{ expr: `sum by (node) (process_resident_memory_bytes{${NODE}})`, legend: '{{node}}' }, { expr: `sum by (node) (nodejs_heap_size_used_bytes{${NODE}})`, legend: '{{node}} heap' }]
    },
    { title: 'Open files', description: 'Share of the files that the process may open; each stream is one.', unit: 'percentunit', min: 0, max: 1, queries: [{ expr: `max by (node) (process_open_fds{${NODE}} / process_max_fds{${NODE}})`, legend: '{{node}}' }] },
    {
      title: 'Log',
      description: 'Writes that failed, and lines that were lost.',
      unit: 'ops',
      min: 0,
      queries: [{ expr: rate('tidings_log_write_errors_total', 'node'), legend: '{{node}} failed' }, { expr: rate('tidings_log_lines_lost_total', 'node'), legend: '{{node}} lost' }]
    },
    { title: 'Versions', description: 'Nodes by version.', unit: 'short', min: 0, stack: true, queries: [{ expr: `count by (version) (tidings_build_info{${NODE}})`, legend: '{{version}}' }] }
  ]
}]

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' } // eslint-disable-line no-template-curly-in-string

function panel ({ title, description, unit, queries, kind = 'timeseries', min, max, stack = false, thresholds }: Panel, id: number, gridPos: object): object {
  return {
    id,
    type: kind,
    title,
    description,
    gridPos,
    datasource: DATASOURCE,
    targets: queries.map(({ expr, legend, exemplar = false }, index) => ({
      refId: String.fromCharCode(65 + index), datasource: DATASOURCE, editorMode: 'code', expr, legendFormat: legend, range: true, ...(exemplar && { exemplar })
    })),
    fieldConfig: {
      defaults: {
        unit,
        ...(min !== undefined && { min }),
        ...(max !== undefined && { max }),
        ...(thresholds !== undefined && { thresholds: { mode: 'absolute', steps: thresholds.map(([value, color]) => ({ value, color })) } }),
        ...(kind === 'timeseries' && { custom: { lineWidth: 1, fillOpacity: stack ? 30 : 5, showPoints: 'never', stacking: { mode: stack ? 'normal' : 'none', group: 'A' } } })
      },
      overrides: []
    },
    options: kind === 'stat'
      ? { reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false }, colorMode: 'value', graphMode: 'area', textMode: 'auto', justifyMode: 'auto', orientation: 'auto', wideLayout: true, showPercentChange: false, percentChangeColorMode: 'standard' }
      : { legend: { calcs: [], displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi', sort: 'desc' } }
  }
}

/** Grafana's grid is 24 wide: stats four in a row, the others three. */
function panels (): object[] {
  let id = 0
  let y = 0
  return rows.flatMap((row) => {
    const made: object[] = [{ id: ++id, type: 'row', title: row.title, collapsed: false, gridPos: { x: 0, y, w: 24, h: 1 }, panels: [] }]
    y++
    let x = 0
    let height = 0
    for (const one of row.panels) {
      const [w, h] = one.kind === 'stat' ? [6, 4] : row.panels.some(({ kind }) => kind === 'stat') ? [12, 8] : [8, 8]
      if (x + w > 24) {
        x = 0
        y += height
        height = 0
      }
      made.push(panel(one, ++id, { x, y, w, h }))
      x += w
      height = Math.max(height, h)
    }
    y += height
    return made
  })
}

const variable = (name: string, label: string, query: string, more: object): object => ({
  name, label, type: 'query', datasource: DATASOURCE, query: { query, refId: name }, definition: query, refresh: 2, sort: 1, multi: true, includeAll: true, ...more
})

export function dashboard (): object {
  return {
    uid: 'tidings',
    title: 'Tidings',
    description: 'Streams, delivery, Redis and processes of all nodes. Alerts and what to do: docs/operations.md.',
    tags: ['tidings'],
    schemaVersion: 39,
    editable: true,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    templating: {
      list: [
        { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus', refresh: 1 },
        variable('job', 'Installation', 'label_values(tidings_streams, job)', { allValue: '.*', current: { text: 'All', value: '$__all' } }),
        variable('node', 'Node', 'label_values(tidings_streams{job=~"$job"}, node)', { allValue: '.*', current: { text: 'All', value: '$__all' } })
      ]
    },
    annotations: {
      list: [{
        name: 'Alerts', datasource: DATASOURCE, enable: true, iconColor: 'red', expr: 'ALERTS{alertname=~"Tidings.*",alertstate="firing"}', titleFormat: '{{alertname}}', step: '30s'
      }]
    },
    panels: panels()
  }
}
