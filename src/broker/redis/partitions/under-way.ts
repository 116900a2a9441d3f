// What stands in the list of partitions, in place of their prefixes, while they are divided.
export const UNDER_WAY = 'doubling'
