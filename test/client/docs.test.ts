// docs/client.md against the code: every option, member, state, field and hook that it names exists, and none is left out.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import ts from 'typescript'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/client.md'), 'utf8')
const files = ['api', 'line', 'react'].map((name) => join(root, `client/src/${name}.ts`))
const program = ts.createProgram(files, { ...ts.getDefaultCompilerOptions(), strict: true, allowImportingTsExtensions: true, noEmit: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext })
const checker = program.getTypeChecker()

function typeOf (file: number, name: string): ts.Type {
  const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(files[file]!)!)!)
  return checker.getDeclaredTypeOfSymbol(symbols.find((symbol) => symbol.name === name)!)
}
const members = (file: number, name: string): string[] => checker.getPropertiesOfType(typeOf(file, name)).map((symbol) => symbol.name).toSorted()
/** The names in the first column, as `a`, `b` or as calls. */
const named = (text: string): string[] => [...new Set([...text.matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, cell]) => [...cell!.matchAll(/`(\w+)/g)].map(([, name]) => name!)))].toSorted()

t.test('connect: the options', async (t) => {
  t.same(named(page.slice(page.indexOf('## connect('), page.indexOf('## The connection'))), members(0, 'ConnectOptions'))
})

t.test('the connection: its members, its states', async (t) => {
  const [connection, states] = page.slice(page.indexOf('## The connection'), page.indexOf('## The inbox')).split('| state | meaning |') as [string, string]
  t.same(named(connection), members(0, 'Tidings'))
  const union = typeOf(1, 'State') as ts.UnionType
  t.same(named(states), union.types.map((one) => (one as ts.StringLiteralType).value).toSorted())
})

t.test('the inbox: its members, and what an item has', async (t) => {
  const text = page.slice(page.indexOf('## The inbox'), page.indexOf('## React'))
  t.same(named(text), members(0, 'Inbox'))
  const [, fields = ''] = /newest first: `\{ (.*?) \}`/.exec(text) ?? []
  t.same(fields.split(', ').map((field) => field.replace('?', '')).toSorted(), members(0, 'InboxItem'))
})

t.test('React: every component and hook', async (t) => {
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(files[2]!)!)!).filter(({ flags }) => flags & ts.SymbolFlags.Function).map(({ name }) => name)
  t.same(named(page.slice(page.indexOf('## React'), page.indexOf('## What it does'))), exported.toSorted())
})
