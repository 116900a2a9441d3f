// Loaded before a node (node --import): it no longer tells anybody that something is missing.
import { RedisRequests } from '../../src/broker/redis/requests.ts'

const { resume } = RedisRequests.prototype
RedisRequests.prototype.resume = async function (query) {
  return { ...await resume.call(this, query), gap: false }
}
