// How long things may take, and how many are kept: in one file, since the build writes what is imported in place of its
// name.

/** Nothing asked of the page or the network may take longer before there is an answer. */
export const ANSWER_MS = 10_000

/** How often a tab looks whether the machine slept: one timer a tab, which does nothing else. */
export const LOOK_MS = 1000
/** About as often a leader tells the others that it is there. */
export const BEAT_MS = 5000

/** The shortest pause between two tries, whatever the service says. */
export const SHORTEST_WAIT_MS = 100
/** The longest pause between two tries. */
export const LONGEST_WAIT_MS = 30_000
/** A stream that lives shorter than this counts as one more failure. */
export const SHORT_LIFE_MS = 5000

/** Notifications of the list, in one answer. */
export const PAGE = 50
/** A list that could not be fetched is asked for again within this. */
export const ASK_AGAIN_MS = 20_000
/** Counts stop there, and stand for any more. */
export const MOST_COUNTED = 100

/** Ids that a tab remembers to have been granted. */
export const REMEMBERED = 1000
/** How long a new leader listens to what the others know of them. */
export const LISTEN_MS = 100
