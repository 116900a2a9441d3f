// Run before the checks of ops/, so that what they need is there once and for all of them: `node test/ops/prepare.ts`.
import { findRedis } from '../fixtures/parts.ts'
import { tools } from './tools.ts'

try {
  const startedAtMs = performance.now()
  await findRedis()
  const { helm, kubeconform, prometheus, otlp, grafana } = await tools()
  process.stderr.write(`Checks of ops/ run on ${helm}; ${kubeconform}; ${prometheus}; ${otlp}; ${grafana} (found in ${Math.round((performance.now() - startedAtMs) / 1000)} s)\n`)
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 1
}
