// Which texts are a traceparent: https://www.w3.org/TR/trace-context/#versioning-of-traceparent
import t from 'tap'
import { isSampled, parseTraceparent, traceIdOf } from '../src/trace-context.ts'

const [TRACE, SPAN] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']

t.test('traceparent, of version 00 and of later ones: read, of later ones what is known', async (t) => {
  for (const [text, known = text] of [
    [`00-${TRACE}-${SPAN}-01`], [`00-${TRACE}-${SPAN}-00`], [`cc-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01`],
    [`cc-${TRACE}-${SPAN}-01-what-the-future-will-be-like`, `00-${TRACE}-${SPAN}-01`], [`01-${TRACE}-${SPAN}-01-`, `00-${TRACE}-${SPAN}-01`]
  ] as const) {
    t.equal(parseTraceparent(text), known)
    t.equal(traceIdOf(known), TRACE)
    t.equal(isSampled(known), text.includes('-01'), text)
  }
})

t.test('traceparent, of no version that there may be, or with too much or too little: none', async (t) => {
  for (const text of [
    undefined, 7, '', `ff-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01-more`, `00-${TRACE}-${SPAN}-01-`, `cc-${TRACE}-${SPAN}-01.more`, `cc-${TRACE}-${SPAN}-011`, `00-${TRACE}-${SPAN}`,
    `00-${'0'.repeat(32)}-${SPAN}-01`, `00-${TRACE}-${'0'.repeat(16)}-01`, `00-${TRACE.toUpperCase()}-${SPAN}-01`, ` 00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01\n`
  ]) t.equal(parseTraceparent(text), undefined, String(text))
})
