// Every row that can be asked for, in the order of the tables.
import { floors } from './floor.ts'
import { goPeers } from './go-peers.ts'
import { nchan } from './nchan.ts'
import { nodePeers } from './node-peers.ts'
import { pushpin } from './pushpin.ts'
import type { Row } from './row.ts'
import { tidings } from './tidings.ts'

export const ownRows: readonly Row[] = [...floors, ...tidings]
export const peers: readonly Row[] = [nchan, pushpin, ...nodePeers, ...goPeers]
