// Rows that most sections have, in the order of the tables.
import type { Field } from '../sections/section.ts'
import { floors } from './floor.ts'
import type { Row } from './row.ts'
import { tidings, usual } from './tidings.ts'

export const everyRow = ({ services, peers }: Field): Row[] => [...floors, ...tidings(services, ...usual), ...peers]
