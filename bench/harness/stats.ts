// Medians, and the histogram that load clients report: merged over processes, read as percentiles.

const SUB_BUCKETS = 32

export function median (values: readonly number[]): number {
  if (values.length === 0) return NaN
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** By nearest rank. */
export function percentile (values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * percent / 100) - 1)] ?? NaN
}

/** Buckets of microseconds, 3 % wide: as load/tally.c counts them. */
export class Histogram {
  readonly counts: number[] = []
  total = 0

  static bucketOf (us: number): number {
    if (us < SUB_BUCKETS) return Math.max(0, Math.floor(us))
    const power = Math.floor(Math.log2(us))
    return Math.min(SUB_BUCKETS * (power - 4) + (Math.floor(us / 2 ** (power - 5)) & (SUB_BUCKETS - 1)), SUB_BUCKETS * 28 - 1)
  }

  /** The greatest value of a bucket, in microseconds. */
  static topOf (bucket: number): number {
    if (bucket < SUB_BUCKETS) return bucket
    const power = Math.floor(bucket / SUB_BUCKETS) + 4
    return (SUB_BUCKETS + (bucket % SUB_BUCKETS) + 1) * 2 ** (power - 5)
  }

  add (us: number): void {
    const bucket = Histogram.bucketOf(us)
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1
    this.total++
  }

  /** `pairs`: bucket, count, bucket, count… */
  merge (pairs: readonly number[]): void {
    for (let i = 0; i < pairs.length; i += 2) {
      this.counts[pairs[i]!] = (this.counts[pairs[i]!] ?? 0) + pairs[i + 1]!
      this.total += pairs[i + 1]!
    }
  }

  pairs (): number[] {
    return this.counts.flatMap((count, bucket) => [bucket, count])
  }

  /** Milliseconds. */
  percentileMs (percent: number): number {
    let left = Math.ceil(this.total * percent / 100)
    for (const [bucket, count = 0] of this.counts.entries()) {
      left -= count
      if (left <= 0) return Histogram.topOf(bucket) / 1000
    }
    return NaN
  }
}
