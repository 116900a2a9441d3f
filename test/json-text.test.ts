// The text of a member is cut out as it came, from whatever JSON.parse takes.
import fc from 'fast-check'
import t from 'tap'
import { memberText, oneLine } from '../src/json-text.ts'

t.test('memberText, odd but valid texts, gives the member as it was written', async (t) => {
  const cases: Array<[json: string, text: string | undefined]> = [
    ['{"data":1}', '1'],
    ['{"data":12345678901234567890}', '12345678901234567890'],
    ['{"to":"all","data":1.10,"event":"x"}', '1.10'],
    ['{"data":1e400}', '1e400'],
    ['{"data":-0}', '-0'],
    [' \r\n\t{ "data" :\r\n {"a" :\n[1 ,\r2 ] } \n, "to":"all"}\n', '{"a" : [1 , 2 ] }'],
    ['{"\\u0064ata":"escaped key"}', '"escaped key"'],
    ['{"d\\u0061ta":1,"data":2}', '2'],
    ['{"data":1,"d\\u0061ta":2}', '2'],
    ['{"data":1,"data":{"data":3}}', '{"data":3}'],
    ['{"to":{"data":1},"x":[{"data":2}],"y":"\\"data\\":3"}', undefined],
    ['{"a":"\\\\","data":"\\\\\\""}', '"\\\\\\""'],
    ['{"a":"}{][,","data":["}",{"\\"]":[]}]}', '["}",{"\\"]":[]}]'],
    ['{"data":{"b":1,"a":2,"b":3}}', '{"b":1,"a":2,"b":3}'],
    ['{"data":{"__proto__":{"x":1},"constructor":null}}', '{"__proto__":{"x":1},"constructor":null}'],
    ['{"__proto__":{"data":1}}', undefined],
    ['{"data":"\u2028\u2029"}', '"\u2028\u2029"'],
    ['{"data" : true }', 'true'],
    ['{"data":null}', 'null'],
    ['{"data2":1,"dat":2,"DATA":3}', undefined],
    ['{}', undefined],
    [' [1,2] ', undefined],
    ['"data"', undefined],
    ['7', undefined]
  ]
  for (const [json, text] of cases) {
    JSON.parse(json)
    t.equal(memberText(json, 'data'), text, json.replaceAll(/[^ -~]/g, '?'))
  }
})

t.test('memberText, any object with any white space, gives a text of the same value', async (t) => {
  const space = fc.constantFrom('', ' ', '\n', '\r\n', '\t', '  ')
  const name = fc.oneof(fc.constantFrom('data', 'to', 'event', '__proto__', 'da"ta', 'data\\'), fc.string({ unit: 'grapheme' }))
  fc.assert(fc.property(fc.array(fc.tuple(name, fc.jsonValue(), space, space, space)), (members) => {
    const json = `{${members.map(([name, value, a, b, c]) => `${a}${JSON.stringify(name)}${b}:${c}${JSON.stringify(value, null, b)}${a}`).join(',')}}`
    const parsed = JSON.parse(json) as object
    const text = memberText(json, 'data')
    if (!Object.hasOwn(parsed, 'data')) return text === undefined
    return text !== undefined && !/[\r\n]/.test(text) && JSON.stringify(JSON.parse(text)) === JSON.stringify((parsed as { data: unknown }).data)
  }), { numRuns: 2000 })
})

t.test('memberText, of 4 MB that is made to be slow, takes no longer than its length asks', async (t) => {
  for (const evil of ['\\"'.repeat(2_000_000), '\\\\'.repeat(2_000_000), '}{'.repeat(2_000_000)]) {
    const json = `{"data":"${evil}"}`
    const begin = performance.now()
    t.equal(memberText(json, 'data')!.length, evil.length + 2)
    t.ok(performance.now() - begin < 2000, `${Math.round(performance.now() - begin)} ms`)
  }
})

t.test('oneLine, of JSON with line breaks, says the same on one line', async (t) => {
  t.equal(oneLine('{\r\n"a":\n1\r}'), '{  "a": 1 }')
  t.equal(oneLine('"\\n"'), '"\\n"', 'an escaped one stays')
})
