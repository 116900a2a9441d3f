// What `helm test` runs in the image of a node: an installation that answers as it should. Ends with 1 and a sentence
// if not.
const url = process.env.TIDINGS_URL
const checks = [
  ['/livez', 200, 'the process answers'],
  ['/readyz', 200, 'messages really arrive (Redis is reached, the canary is heard)'],
  ['/metrics', 200, 'Prometheus can read'],
  ['/api/notifications/subscribe', 401, 'a stream without a token is refused']
]
let failed = 0
for (const [path, wanted, meaning] of checks) {
  const answer = await fetch(url + path, { signal: AbortSignal.timeout(10_000) }).catch((error) => ({ status: String(error.cause ?? error), text: async () => '' }))
  const isGood = answer.status === wanted
  if (!isGood) failed++
  console.log(`${isGood ? 'ok' : 'NOT OK'}  ${path}: ${answer.status} (${meaning})${isGood ? '' : ` wanted ${wanted}; ${(await answer.text()).slice(0, 500)}`}`)
}
process.exit(failed === 0 ? 0 : 1)
