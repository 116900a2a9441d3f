// Loaded before a node whose allocations are counted: at SIGURG it says how many bytes its heap was given since the
// last one. (A signal that nothing else listens to, and that ends nobody.)
import { GCProfiler, getHeapStatistics } from 'node:v8'

let profiler = new GCProfiler()
let startBytes = 0

function begin (): void {
  profiler = new GCProfiler()
  profiler.start()
  startBytes = getHeapStatistics().used_heap_size
}

/** What was used before each collection, less what was left by the one before it. */
function end (): number {
  let bytes = 0
  let left = startBytes
  for (const { beforeGC, afterGC } of profiler.stop()?.statistics ?? []) {
    bytes += beforeGC.heapStatistics.usedHeapSize - left
    left = afterGC.heapStatistics.usedHeapSize
  }
  return bytes + getHeapStatistics().used_heap_size - left
}

begin()
process.on('SIGURG', () => {
  process.stderr.write(`allocated ${end()}\n`)
  begin()
})
