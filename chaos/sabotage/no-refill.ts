// Loaded before a node (node --import): its hub no longer hears that the line to Redis broke, so nothing is refilled.
import { Hub } from '../../src/hub/hub.ts'

Hub.prototype.interrupted = () => {}
Hub.prototype.restored = () => {}
