// The states of a stream and the allowed transitions.

/**
 * The states:
 *
 * - `opening`: not live yet; messages are held while it is filled for the first time.
 * - `live`: messages are written.
 * - `filling`: was live; messages are held while the filler reads what it is owed.
 * - `waiting`: was live; messages are held, and no fill runs: the broker is away, or its channels are interrupted.
 * - `ending`: its last bytes were sent, or its socket was dropped; nothing more is written.
 * - `ended`: its connection is closed.
 *
 * A stream that must be held for another reason while it is `opening` or `filling` keeps that state, and its fill makes
 * another round.
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

/** Returns `to`. Throws if there is no such transition. */
export function step (from: State, to: State): State {
  if (!(transitions[from] as readonly State[]).includes(to)) throw new Error(`a stream cannot become ${to} when it is ${from}`)
  return to
}
