// What the demo prints: what runs, where to look, and curl lines to copy and paste

import type { DemoUser } from './page.ts'

export interface DemoTextFacts {
  origins: string[]
  users: DemoUser[]
  publisherToken: string
  /** For what may be read past, as a token. Gives plain text back where the output is no terminal. */
  dim: (text: string) => string
  bold: (text: string) => string
}

export function demoText ({ origins, users, publisherToken, dim, bold }: DemoTextFacts): string {
  const bearer = (token: string) => `-H "Authorization: Bearer ${dim(token)}"`

  const nodes = origins.map((origin, index) => {
    const here = users.filter(({ node }) => node === index).map(({ name, groups }) => `${name} (${groups.join(', ')})`)
    return `  node ${index + 1}   ${origin}   ${here.join(', ')}`
  })
  const subscribes = users.toReversed().map(({ name, node, token }) => [
    '',
    `  Listen as ${bold(name)} on ${bold(`node ${node + 1}`)}:`,
    '',
    `curl -N ${bearer(token)} ${origins[node]}/api/notifications/subscribe`
  ])
  const notification = { to: 'group:Complaints', data: { title: 'Complaint update', message: 'The parcel has been found.' } }

  return [
    '',
    `  ${bold('Tidings demo')}: two nodes, one embedded broker, one process`,
    '',
    ...nodes,
    '',
    `  Open the page   ${bold(`${origins[0]}/`)}`,
    `  Read the API    ${origins[0]}/docs`,
    '',
    '  Or paste these lines, each into a terminal of its own.',
    ...subscribes.flat(),
    '',
    `  Publish to ${bold('group:Complaints')} on ${bold('node 1')}; both hear it:`,
    '',
    `curl ${bearer(publisherToken)} -H "Content-Type: application/json" -d '${JSON.stringify(notification)}' ${origins[0]}/api/notifications`,
    '',
    '  The tokens are good for this run only. Ctrl-C ends it.',
    ''
  ].join('\n')
}
