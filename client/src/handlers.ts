// The page's event handlers, called with checked data.
import type { Handler, Meta, Schema } from './api.ts'
import { createListeners, report } from './listeners.ts'

/** Events of the service itself, which `*` does not include. */
const isOwn = (event: string): boolean => /^(sync|ping|read|retracted|expiring|replaced|closed)$/.test(event)

export function createHandlers (schemas: { readonly [event: string]: Schema | undefined }) {
  const handlers = createListeners<[data: any, meta: Meta]>()
  return {
    on: (wanted: string, handler: Handler) => handlers.add((data, meta) => {
      if (meta.event === wanted || (wanted === '*' && !isOwn(meta.event))) return handler(data, meta)
    }),
    drop: handlers.drop,
    call (data: any, meta: Meta): void {
      void report(() => {
        const result: any = (Object.hasOwn(schemas, meta.event) && schemas[meta.event]?.['~standard'].validate(data)) || { value: data }
        if (result.issues || !('value' in result)) throw new Error(`${meta.event}: ${result.issues?.[0]?.message ?? 'async schema'}`)
        handlers.call(result.value, meta)
      })
    }
  }
}
