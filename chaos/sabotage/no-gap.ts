// Loaded before a node (node --import): it no longer tells anybody that something is missing.
import { RedisBroker } from '../../src/broker/redis/redis.ts'

const { resume } = RedisBroker.prototype
RedisBroker.prototype.resume = async function (query) {
  return { ...await resume.call(this, query), gap: false }
}
