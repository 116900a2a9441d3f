// Loaded before a Node server whose memory is measured: SIGWINCH collects garbage, so that what is counted is what is
// kept. (A signal that nothing else listens to, and that ends nobody.)
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
process.on('SIGWINCH', () => {
  for (let i = 0; i < 4; i++) collect()
  const { heapUsed, external } = process.memoryUsage()
  process.stderr.write(`settled ${heapUsed + external}\n`)
})
