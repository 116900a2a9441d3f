// Everybody else's servers, in the order of the tables. Without this folder the bench measures ours alone.
import type { Row } from '../rows/row.ts'
import { goPeers } from './go-peers.ts'
import { nchan } from './nchan.ts'
import { nodePeers } from './node-peers.ts'
import { pushpin } from './pushpin.ts'

export const peers: readonly Row[] = [nchan, pushpin, ...nodePeers, ...goPeers]
