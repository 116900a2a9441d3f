// Text of others for a log or a terminal.

/**
 * What JSON leaves as it is in a string, but some readers take for the end of a line, and terminals for a command or
 * another direction of writing. Ids, names of groups and forwarded addresses may hold such characters.
 */
const UNSAFE = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/** Writes them as in JSON. */
export const escapeUnsafe = (text: string): string => text.replace(UNSAFE, escaped)
