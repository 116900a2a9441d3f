// Prints the function library, for who loads it by hand: npm run -s functions | redis-cli -x FUNCTION LOAD REPLACE
// For each master of a Cluster: npm run -s functions -- --cluster
import { library } from '../src/broker/redis/library.ts'
import { readCommandLine } from './command-line.ts'

const usage = `Usage: npm run -s functions [-- --cluster] | redis-cli -x FUNCTION LOAD REPLACE

  --cluster   for a Cluster: load it into each master

Prints the function library, for Redis users that may not load it themselves.`

const { values: { cluster } } = readCommandLine(usage, { cluster: { type: 'boolean', default: false } })
process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  process.exitCode = 1
  // EPIPE: who reads it has ended, and has said why, as redis-cli does if no Redis answers.
  if (code !== 'EPIPE') console.error(message)
})
process.stdout.write(library({ isCluster: cluster }))
