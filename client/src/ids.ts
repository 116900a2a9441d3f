// Ids and positions are decimal numbers, which may one day exceed what a JavaScript number can hold, so they stay
// strings. '' is before all of them.

export const isAfter = (id: string, other: string): boolean => id.length === other.length ? id > other : id.length > other.length
/** Terminal events have an id too, but it starts with "!". */
export const isPosition = (id: string | undefined): id is string => /^\d/.test(id as string)
