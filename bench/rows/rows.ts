// Every row that can be asked for, in the order of the tables.
import { floors, spreadFloors } from './floor.ts'
import { goPeers } from './go-peers.ts'
import { nchan } from './nchan.ts'
import { nodePeers } from './node-peers.ts'
import { pushpin } from './pushpin.ts'
import type { Row } from './row.ts'
import { acrossNodes, onRedis, tidings } from './tidings.ts'

export const ownRows: readonly Row[] = [...floors, ...tidings]
/** Only in latency. */
export const latencyRows: readonly Row[] = [acrossNodes]
/** Instead of the others in scaling. */
export const scalingRows: readonly Row[] = [...spreadFloors, onRedis(1), onRedis(2), onRedis(3)]
export const peers: readonly Row[] = [nchan, pushpin, ...nodePeers, ...goPeers]
