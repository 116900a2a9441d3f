// Everything that is done to the service.
import { clientFaults } from './client-faults.ts'
import { failoverFaults } from './failover-faults.ts'
import type { Fault } from './fault.ts'
import { hostFaults } from './host-faults.ts'
import { partitionFaults } from './partition-faults.ts'
import { processFaults } from './process-faults.ts'
import { redisFaults } from './redis-faults.ts'

export const faults: readonly Fault[] = [
  ...redisFaults.map((fault): Fault => ({ ...fault, topologies: ['single'] })), ...failoverFaults, ...partitionFaults, ...processFaults, ...hostFaults, ...clientFaults
]
