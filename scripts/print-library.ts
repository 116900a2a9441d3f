// Prints the function library, for who loads it by hand: npm run -s functions | redis-cli -x FUNCTION LOAD REPLACE
import { library } from '../src/broker/redis/library.ts'

process.stdout.write(library())
