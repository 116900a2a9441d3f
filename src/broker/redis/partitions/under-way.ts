// Marks in place of prefixes and tags: the first entry of the list while partitions are being divided, and the tag in
// the config of a prefix that is no partition.
export const UNDER_WAY = 'doubling'
export const NO_PARTITION = 'none'
/** Follows it once nothing is taken or owed any more. Before that nothing is copied, so all can be made as it was. */
export const COPYING = ', copying'
/** Follows it once all is copied and verified. Publishes may be taken from then on, so nothing is copied again. */
export const IN_PLACE = ', all in place'
