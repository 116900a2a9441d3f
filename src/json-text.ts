// Cuts a JSON value out of its text unchanged. Parsing and serialising would silently change 12345678901234567890, 1.10
// and 1e400.

const [QUOTE, BACKSLASH, COMMA, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [34, 92, 44, 91, 93, 123, 125]

/**
 * The text of a member of an object, on one line; undefined if there is none, or `json` is no object. If the name
 * occurs several times the last one counts, as with JSON.parse, which must have accepted `json` before.
 */
export function memberText (json: string, name: string): string | undefined {
  let at = skipSpace(json, 0)
  if (json.charCodeAt(at) !== OPEN_OBJECT) return undefined
  let text: string | undefined
  at = skipSpace(json, at + 1)
  while (json.charCodeAt(at) === QUOTE) {
    const keyEnd = endOfString(json, at)
    const begin = skipSpace(json, skipSpace(json, keyEnd) + 1) // past the colon
    const end = endOfValue(json, begin)
    if (isKey(json.slice(at, keyEnd), name)) text = json.slice(begin, end)
    at = skipSpace(json, end)
    if (json.charCodeAt(at) === COMMA) at = skipSpace(json, at + 1)
  }
  return text === undefined ? undefined : oneLine(text)
}

/** Replaces line breaks in valid JSON by spaces. They can only stand between tokens, where a space means the same. */
export function oneLine (json: string): string {
  return json.includes('\n') || json.includes('\r') ? json.replaceAll(/[\r\n]/g, ' ') : json
}

function isKey (quoted: string, name: string): boolean {
  return quoted.includes('\\') ? JSON.parse(quoted) === name : quoted.length === name.length + 2 && quoted.startsWith(name, 1)
}

function skipSpace (json: string, from: number): number {
  let at = from
  for (let c = json.charCodeAt(at); c === 32 || c === 9 || c === 10 || c === 13; c = json.charCodeAt(at)) at++
  return at
}

/** `at`: the position of its opening quote. */
function endOfString (json: string, at: number): number {
  for (let end = json.indexOf('"', at + 1); ; end = json.indexOf('"', end + 1)) {
    let backslashes = 0
    while (json.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++
    if (backslashes % 2 === 0) return end + 1
  }
}

function endOfValue (json: string, from: number): number {
  const first = json.charCodeAt(from)
  if (first === QUOTE) return endOfString(json, from)
  let at = from
  if (first !== OPEN_LIST && first !== OPEN_OBJECT) {
    for (let c = first; c > 32 && c !== COMMA && c !== CLOSE_OBJECT; c = json.charCodeAt(at)) at++
    return at
  }
  for (let depth = 0; ;) {
    const c = json.charCodeAt(at)
    if (c === QUOTE) {
      at = endOfString(json, at)
      continue
    }
    at++
    if (c === OPEN_LIST || c === OPEN_OBJECT) depth++
    else if ((c === CLOSE_LIST || c === CLOSE_OBJECT) && --depth === 0) return at
  }
}
