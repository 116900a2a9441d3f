// Text of others for a log or a terminal.

/**
 * What some readers take for the end of a line, and terminals for a command or another direction of writing. JSON
 * leaves most of it as it is. Ids, names of groups, keys and forwarded addresses may hold such characters.
 */
const UNSAFE = /[^\P{Cc}\n]|[\u2028\u2029\p{Bidi_Control}]/gu
const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/** Writes them as in JSON; line breaks stay. */
export const escapeUnsafe = (text: string): string => text.replace(UNSAFE, escaped)
