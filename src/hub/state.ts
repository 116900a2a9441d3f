// What a stream can be, and what it can become: the one table of its states.

/**
 * - `opening`: never live yet; what comes is held while it is filled for the first time.
 * - `live`: what comes is written.
 * - `filling`: was live; what comes is held while the filler reads what it is owed.
 * - `waiting`: was live; what comes is held, and nobody reads: the broker is away, or its channels are not heard.
 * - `ending`: its last words are sent, or its socket is dropped; nothing more is written.
 * - `ended`: the connection is done with.
 *
 * A stream that is held for another reason while it is `opening` or `filling` stays that, for another round.
 */
export const transitions = {
  opening: ['live', 'ending', 'ended'],
  live: ['filling', 'waiting', 'ending', 'ended'],
  filling: ['live', 'waiting', 'ending', 'ended'],
  waiting: ['filling', 'ending', 'ended'],
  ending: ['ended'],
  ended: []
} as const satisfies Record<string, readonly string[]>

export type State = keyof typeof transitions

/** The state to be in next. Throws if there is no way from the one to the other. */
export function step (from: State, to: State): State {
  if (!(transitions[from] as readonly State[]).includes(to)) throw new Error(`a stream cannot become ${to} when it is ${from}`)
  return to
}
