// A set of listeners. An error of one is reported, as for DOM listeners, and does not keep others from being called.

export interface Listeners<Args extends unknown[]> {
  /** Returns a function that removes it. */
  add: (listener: (...args: Args) => unknown) => () => void
  /** Calls all listeners, but none that was removed during the call. */
  call: (...args: Args) => void
  drop: () => void
}

export function createListeners <Args extends unknown[]> (): Listeners<Args> {
  const all = new Set<(...args: Args) => unknown>()
  return {
    add (listener) {
      // A new function, so that a listener that was added twice is called twice and removed once.
      const own = (...args: Args): unknown => listener(...args)
      all.add(own)
      return () => { all.delete(own) }
    },
    call (...args) {
      for (const listener of [...all]) {
        if (all.has(listener)) void report(() => listener(...args))
      }
    },
    drop () { all.clear() }
  }
}

/** Runs a function. An error, thrown or of a promise, is reported like an uncaught one. */
export async function report (run: () => unknown): Promise<void> {
  try {
    await run()
  } catch (error) {
    reportError(error)
  }
}
