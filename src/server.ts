// The entry of the process. It handles signals from the first moment: loading start.ts takes half a second, and the
// kernel does not deliver a signal without a handler to process 1 of a container.
import { setFlagsFromString } from 'node:v8'

let onSignal = (_signal: NodeJS.Signals): void => { process.exit(0) }
// These listeners are never taken off: if there is none, even for a moment between two, a signal kills the process.
for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, (signal) => { onSignal(signal) })
// A closing terminal, or a supervisor's "read your settings again", is no reason to end.
process.on('SIGHUP', () => {})

const { start } = await import('./start.ts')

// V8's allocation-site pretenuring allocates objects directly in the old generation if most objects of the same place
// in the code survived an earlier collection, as objects of requests that wait for the broker do. Garbage in the old
// generation then keeps everything that it references until the next full collection. Whether a node got into this
// state was chance. A publish then cost a third more CPU, and a minor collection took 20 ms instead of 2.
// Set before start.ts is loaded, this would make V8 refuse all code that NODE_COMPILE_CACHE has on disk.
setFlagsFromString('--no-allocation-site-pretenuring')

await start((listener) => { onSignal = listener })
