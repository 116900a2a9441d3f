// Ids and positions: decimal numbers, longer than a JavaScript number may be one day. Empty: before all of them.

export const isAfter = (id: string, other: string): boolean => id.length === other.length ? id > other : id.length > other.length
/** What ends a stream for good has an id, too, but one that starts with "!". */
export const isPosition = (id: string | undefined): id is string => /^\d/.test(id as string)
