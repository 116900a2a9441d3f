// All times and limits. They are in one file because the build replaces imported constants by their values.

/** How long the page's functions and the network may take to answer. */
export const ANSWER_MS = 10_000

/** How often a tab checks whether the machine slept. This is the tab's only permanent timer. */
export const LOOK_MS = 1000
/** About how often the leader tells the other tabs that it is there. */
export const BEAT_MS = 5000

/** The shortest pause between two attempts, whatever the service says. */
export const SHORTEST_WAIT_MS = 100
/** The longest pause between two attempts. */
export const LONGEST_WAIT_MS = 30_000
/** A stream with a shorter life counts as a failure. */
export const SHORT_LIFE_MS = 5000

/** How many notifications of the list are fetched at once. */
export const PAGE = 50
/** A list that could not be fetched is fetched again within this time. */
export const ASK_AGAIN_MS = 20_000
/** How long an action that the service refused is not sent again. */
export const REFUSED_MS = 1000
/** Counts stop here; this value may stand for more. */
export const MOST_COUNTED = 100

/** How many granted ids a tab remembers. */
export const REMEMBERED = 1000
/** How long a new leader listens for ids that were granted before its term. */
export const LISTEN_MS = 100
