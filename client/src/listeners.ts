// A set of listeners. What one of them throws is reported, as for a listener of the DOM, and keeps nobody else from
// hearing.

export interface Listeners<Args extends unknown[]> {
  /** Returns how to take it away again. */
  add: (listener: (...args: Args) => unknown) => () => void
  /** Who was taken away while others were called is not called any more. */
  call: (...args: Args) => void
  drop: () => void
}

export function createListeners <Args extends unknown[]> (): Listeners<Args> {
  const all = new Set<(...args: Args) => unknown>()
  return {
    add (listener) {
      // A function of its own: one that is added twice is called twice, and taken away once.
      const own = (...args: Args): unknown => listener(...args)
      all.add(own)
      return () => { all.delete(own) }
    },
    call (...args) {
      for (const listener of [...all]) {
        if (all.has(listener)) report(() => listener(...args))
      }
    },
    drop () { all.clear() }
  }
}

/** Runs it; an error, thrown or of a promise, goes where uncaught ones go. */
export function report (run: () => unknown): void {
  try {
    const result = run()
    if (result instanceof Promise) result.catch(reportError)
  } catch (error) {
    reportError(error)
  }
}
