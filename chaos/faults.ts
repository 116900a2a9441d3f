// Everything that is done to the service.
import { clientFaults } from './client-faults.ts'
import type { Fault } from './fault.ts'
import { hostFaults } from './host-faults.ts'
import { processFaults } from './process-faults.ts'
import { redisFaults } from './redis-faults.ts'

export const faults: readonly Fault[] = [...redisFaults, ...processFaults, ...hostFaults, ...clientFaults]
