// Each schema of the routes is compiled once in a process, whatever the number of places and apps that have it.
import t from 'tap'
import { compilersFactory } from '../../src/http/compilers.ts'

type Compile = (place: { schema: object, httpPart?: string }) => (value: unknown) => unknown
const validate = compilersFactory.buildValidator!({}) as unknown as Compile
const serialize = compilersFactory.buildSerializer!() as unknown as Compile

const named = (type: string): object => ({ type: 'object', properties: { name: { type } } })

t.test('a schema that stands in two places is compiled once, another one by itself', async (t) => {
  for (const compile of [validate, serialize]) {
    t.equal(compile({ schema: named('string') }), compile({ schema: named('string') }))
    t.not(compile({ schema: named('string') }), compile({ schema: named('integer') }))
  }
  t.equal(validate({ schema: named('integer') })({ name: 'seven' }), false)
  t.equal(validate({ schema: named('string') })({ name: 'seven' }), true)
  t.equal(serialize({ schema: named('string') })({ name: 'seven', other: 1 }), '{"name":"seven"}')
})

t.test('a header in capitals, which no request could have, is refused at start', async (t) => {
  const headers = { type: 'object', properties: { 'Idempotency-Key': { type: 'string' } } }
  t.throws(() => validate({ schema: headers, httpPart: 'headers' }), /Idempotency-Key must be in small letters/)
  t.doesNotThrow(() => validate({ schema: headers, httpPart: 'body' }))
})
