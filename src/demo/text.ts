// What the demo prints: what runs, where to look, and curl lines to copy and paste

export interface DemoTextFacts {
  origins: string[]
  users: Array<{ id: string, name: string, groups: string[], node: number, token: string }>
  publisherToken: string
  /** For what may be read past, as a token. Gives plain text back where the output is no terminal. */
  dim: (text: string) => string
  bold: (text: string) => string
}

export function demoText ({ origins, users, publisherToken, dim, bold }: DemoTextFacts): string {
  const bearer = (token: string) => `-H "Authorization: Bearer ${dim(token)}"`
  const publish = (node: number, body: object) =>
    `curl ${origins[node]}/api/notifications ${bearer(publisherToken)} -H "Content-Type: application/json" -d '${JSON.stringify(body)}'`

  const nodes = origins.map((origin, index) => {
    const here = users.filter(({ node }) => node === index).map(({ name, groups }) => `${name} (${groups.join(', ')})`)
    return `  node ${index + 1}   ${origin}   ${here.join(', ')}`
  })
  const subscribes = users.map(({ name, node, token }) => [
    `  Subscribe as ${bold(name)} on node ${node + 1}:`,
    '',
    `curl -N ${bearer(token)} ${origins[node]}/api/notifications/subscribe`,
    ''
  ])

  return [
    '',
    `  ${bold('Tidings demo')}: two nodes, one embedded broker, one process`,
    '',
    ...nodes,
    '',
    `  ${bold('Open')}     ${bold(origins[0] + '/')}`,
    `  API      ${origins[0]}/docs`,
    '',
    '  Or with curl, each line in a terminal of its own.',
    '',
    ...subscribes.flat(),
    `  Publish to the group ${bold('Complaints')} on node 1, then to ${bold('Alice')} on node 2:`,
    '',
    publish(0, { to: 'group:Complaints', data: { title: 'Complaint update', message: 'The parcel has been found.' } }),
    '',
    publish(1, { to: 'user:alice', event: 'message', data: { title: 'Hello, Alice' } }),
    '',
    '  The tokens end with this process. Ctrl-C stops it.',
    ''
  ].join('\n')
}
