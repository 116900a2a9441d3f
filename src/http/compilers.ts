// The functions that check requests and write answers, which Fastify makes from the routes' schemas. To make one takes
// milliseconds, and Fastify makes one for each place where a schema stands: most answers of most routes are the same
// error. Here each schema is compiled once in a process.
import { AjvCompiler } from '@fastify/ajv-compiler'
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import type { FastifyServerOptions } from 'fastify'

interface Place {
  readonly schema?: unknown
  /** body, headers, params or querystring, of what is checked. */
  readonly httpPart?: string
}

/** What Fastify really passes: the package's own type says that it is the schema. */
type Compile<Compiled> = (place: Place) => Compiled

const ajv = AjvCompiler()({}, {
  customOptions: {
    coerceTypes: false,
    removeAdditional: false,
    allErrors: false,
    allowUnionTypes: true,
    // The schemas are checked by the test of the OpenAPI document. Here a check would compile the schema of schemas at
    // each start, which takes longer than all of ours.
    meta: false,
    validateSchema: false
  }
})
const validators = onceForEach((place) => {
  if (place.httpPart === 'headers') refuseCapitals(place.schema as { properties?: object })
  return (ajv as Compile<ReturnType<typeof ajv>>)(place)
})
const serializers = onceForEach(SerializerSelector()() as Compile<(document: unknown) => string>)

/** For Fastify's option `schemaController`. */
export const compilersFactory: NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']> = {
  buildValidator: () => validators as typeof ajv,
  buildSerializer: () => serializers
}

/** Schemas are JSON, so two with the same text are the same. */
function onceForEach<Compiled> (compile: Compile<Compiled>): Compile<Compiled> {
  const all = new Map<string, Compiled>()
  return (place) => {
    const text = JSON.stringify(place.schema)
    const known = all.get(text) ?? compile(place)
    all.set(text, known)
    return known
  }
}

/** Node has the headers of a request in small letters, so a schema with others would check nothing. */
function refuseCapitals ({ properties = {} }: { properties?: object }): void {
  const wrong = Object.keys(properties).find((name) => name !== name.toLowerCase())
  if (wrong !== undefined) throw new Error(`The header ${wrong} must be in small letters in a schema`)
}
