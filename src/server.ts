// The door of the process. It can be told to end from its first moment on; what it is made of (start.ts) takes half a second to read,
// and process 1 of a container does not even get a signal that it has no handler for.
const leave = (): void => { process.exit(0) }
process.on('SIGTERM', leave).on('SIGINT', leave)
// A terminal that closes, or a supervisor that says "read your settings again": neither is a reason to end.
process.on('SIGHUP', () => {})

const { start } = await import('./start.ts')
await start(() => { process.off('SIGTERM', leave).off('SIGINT', leave) })
