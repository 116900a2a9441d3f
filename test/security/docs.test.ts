// docs/security.md names tests; each must be there, by its file and its title.
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'

const root = new URL('../', import.meta.url)
const page = readFileSync(new URL('../docs/security.md', root), 'utf8')
const rows = page.slice(page.indexOf('## Threats'), page.indexOf('## Tickets')).split('\n').filter((line) => /^\| [^*-]/.test(line) && !line.startsWith('| threat'))

t.test('threats, in docs/security.md, each name a test that is there', async (t) => {
  t.ok(rows.length > 35, `${rows.length} threats`)
  for (const row of rows) {
    const shown = row.split(' | ')[2]!.replace(/ \|$/, '')
    const [, file = '', title = ''] = /^`([\w/.-]+\.test\.ts)`(?:: (.*?)(?: \(broker\))?)?$/.exec(shown) ?? []
    if (!t.ok(existsSync(new URL(file, root)) && file !== '', `${file} is there: ${row.slice(0, 80)}`)) continue
    const source = readFileSync(new URL(file, root), 'utf8')
    t.ok(title === '' || source.includes(title) || source.replaceAll("\\'", "'").includes(title), `${file} has "${title}"`)
    t.equal(shown.endsWith(' (broker)'), title !== '' && new RegExp(`onBoth\\(t, ['\`]${title.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll("'", "\\\\?'")}`).test(source), `${file} "${title}": on both brokers or not, as the page says`)
  }
})
