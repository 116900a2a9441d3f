// Names that look like settings and are none: told, with the one that was meant; what other programs use is left alone.
import t from 'tap'
import { configSchema } from '../src/config.ts'
import { unknownSettings } from '../src/unknown-settings.ts'

const settings = Object.keys(configSchema.properties)
const told = (...names: string[]) => unknownSettings(Object.fromEntries(names.map((name) => [name, 'x'])), settings)

t.test('unknown settings, of a slip of the pen, name the setting that was meant', async (t) => {
  for (const [name, nearest] of [
    ['REDIS_URI', 'REDIS_URL'], ['REDISURL', 'REDIS_URL'], ['redis_url', 'REDIS_URL'], ['TIDINGS_REDIS_URL', 'REDIS_URL'],
    ['HEARTBEATSECONDS', 'HEARTBEAT_SECONDS'], ['HEARTBEAT_SECS', 'HEARTBEAT_SECONDS'], ['HEARTBEAT_SECOND', 'HEARTBEAT_SECONDS'],
    ['JWT_SECRETS', 'JWT_SECRET'], ['JWT_KEY', 'JWT_SECRET'], ['JWK_URL', 'JWKS_URL'], ['JWT_ISSUR', 'JWT_ISSUER'],
    ['CORS_ORIGIN', 'CORS_ORIGINS'], ['MAX_STREAM_PER_USER', 'MAX_STREAMS_PER_USER'], ['TRUSTPROXY', 'TRUST_PROXY'], ['LOGLEVEL', 'LOG_LEVEL'],
    ['DRAIN_MS', 'DRAIN_SECONDS'], ['HISTORY_SIZE', 'HISTORY_LENGTH'], ['NODENAME', 'NODE_NAME'], ['SESSIONPOLICY', 'SESSION_POLICY']
  ] as const) {
    const [found, ...more] = told(name)
    t.equal(found?.name, name)
    // Where several are as near, any of them helps.
    if (name !== 'JWT_KEY' && name !== 'HISTORY_SIZE') t.equal(found?.nearest, nearest, name)
    t.same(more, [])
  }
})

t.test('unknown settings, of what is ours or of other programs, are none', async (t) => {
  t.same(told(...settings), [])
  t.same(told(
    'PATH', 'HOME', 'HOSTNAME', 'USER', 'LOGNAME', 'SHELL', 'SHLVL', 'PWD', 'OLDPWD', 'LANG', 'TERM', 'TZ', 'MAIL', '_', 'EDITOR', 'PAGER', 'HISTFILE', 'HISTSIZE',
    'NODE_ENV', 'NODE_OPTIONS', 'NODE_PATH', 'NODE_VERSION', 'YARN_VERSION', 'NODE_EXTRA_CA_CERTS', 'NODE_USE_ENV_PROXY', 'NODE_COMPILE_CACHE',
    'HTTP_PROXY', 'https_proxy', 'NO_PROXY', 'npm_config_registry', 'npm_package_name', 'INIT_CWD', 'CI', 'SESSION_MANAGER', 'SSH_AUTH_SOCK', 'XDG_SESSION_ID',
    'KUBERNETES_PORT', 'KUBERNETES_SERVICE_HOST', 'REDIS_SERVICE_HOST', 'REDIS_SERVICE_PORT', 'REDIS_SERVICE_PORT_REDIS', 'REDIS_PORT', 'REDIS_PORT_6379_TCP',
    'REDIS_PORT_6379_TCP_ADDR', 'REDIS_PORT_6379_TCP_PROTO', 'TIDINGS_PORT', 'TIDINGS_SERVICE_HOST', 'TIDINGS_PORT_3000_TCP_PORT',
    'OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_SERVICE_NAME', 'TEST_REDIS_URL', 'DATABASE_URL', 'LOG_FORMAT', 'MAX_MEMORY', 'TOKEN', 'PORTS', 'REQUESTS_CA_BUNDLE', 'PROXY_HOST', 'TLS_VERIFY', 'OPS_TEAM'
  ), [])
})
