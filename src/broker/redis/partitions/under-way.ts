// Words in the place of prefixes and tags: what the list of partitions says while they are divided, and what stands in
// the config of a prefix that is none of them.
export const UNDER_WAY = 'doubling'
export const NO_PARTITION = 'none'
