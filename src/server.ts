// The door of the process. It can be told to end from its first moment on; what it is made of (start.ts) takes half a
// second to read, and process 1 of a container does not even get a signal that it has no handler for.
import { setFlagsFromString } from 'node:v8'

// V8 makes an object among the old ones at once where, at that place of the code, most lived through a collection
// before. In a request that waits for the broker most do. What then lies dead among the old keeps all that it points at
// until the next full collection. Whether a node fell into this was chance: a publish cost it a third more CPU, and a
// collection took 20 ms instead of 2.
setFlagsFromString('--no-allocation-site-pretenuring')

const leave = (): void => { process.exit(0) }
process.on('SIGTERM', leave).on('SIGINT', leave)
// A terminal that closes, or a supervisor that says "read your settings again": neither is a reason to end.
process.on('SIGHUP', () => {})

const { start } = await import('./start.ts')
await start(() => { process.off('SIGTERM', leave).off('SIGINT', leave) })
