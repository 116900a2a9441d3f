// Prints the function library, for who loads it by hand: npm run -s functions | redis-cli -x FUNCTION LOAD REPLACE
// For each master of a Cluster: npm run -s functions -- --cluster
import { parseArgs } from 'node:util'
import { library } from '../src/broker/redis/library.ts'

try {
  const { cluster } = parseArgs({ options: { cluster: { type: 'boolean', default: false } } }).values
  process.stdout.write(library({ isCluster: cluster }))
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 2
}
