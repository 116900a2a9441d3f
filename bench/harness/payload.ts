// What is published in every row: a notification of about 180 bytes with its number and the moment of publishing.

/** The same for each, so that a load client can tell one that was cut. */
export const PAYLOAD_BYTES = 180
const text = 'Your complaint about a late delivery has been answered; the parcel is on its way again and will arrive tomorrow before noon. Thank you.'

/**
 * `n` counts from 0 in one measurement; `t` is the monotonic clock in microseconds, the same in all processes of a
 * machine.
 */
export function payload (n: number): string {
  const head = `{"n":${n},"t":${process.hrtime.bigint() / 1000n},"title":"Complaint Update","message":"`
  return `${head}${text.slice(0, PAYLOAD_BYTES - head.length - 2)}"}`
}
