// The demo page: asks for a session, opens both streams, and ties the form, the panels and the picture together

import { Panel } from './panel.js'
import { PublishForm } from './publish.js'

const notice = document.getElementById('notice')
const calm = matchMedia('(prefers-reduced-motion: reduce)')

let session

/** New tokens, of both users and the publisher: here the visitor plays everyone. */
async function startSession () {
  const response = await fetch('/demo/session', { method: 'POST' })
  session = await response.json()
  for (const node of session.nodes) node.origin = `${location.protocol}//${location.hostname}:${node.port}`
}

/** A request with the publisher's token: `{ status, answer }`, status 0 when the node cannot be reached. */
async function request (node, method, path, body, again = true) {
  try {
    const response = await fetch(session.nodes[node].origin + path, {
      method,
      headers: { Authorization: `Bearer ${session.token}`, ...(body && { 'Content-Type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) })
    })
    if (response.status === 401 && again) {
      await startSession()
      return await request(node, method, path, body, false)
    }
    tell('')
    const text = await response.text()
    return { status: response.status, answer: text ? JSON.parse(text) : {} }
  } catch {
    return { status: 0, answer: { message: `${session.nodes[node].name} cannot be reached.` } }
  }
}

function tell (text) {
  notice.textContent = text
  notice.hidden = !text
}

/** A dot runs along one line of the picture, between a node and the broker. */
function run (node, toBroker) {
  if (calm.matches) return
  const line = document.querySelector(`[data-line="${node}"]`)
  const dot = document.createElement('i')
  line.append(dot)
  const leftToRight = (node === 0) === toBroker
  const path = [{ left: '0%', opacity: 1 }, { left: '100%', opacity: 1 }]
  const timing = { duration: 450, easing: 'ease-in-out', delay: toBroker ? 0 : 400 }
  dot.animate(leftToRight ? path : path.reverse(), timing).onfinish = () => dot.remove()
}

async function setGroup (userId, group, member) {
  const path = `/api/users/${encodeURIComponent(userId)}/groups/${encodeURIComponent(group)}`
  const { status, answer } = await request(0, member ? 'PUT' : 'DELETE', path)
  const done = status >= 200 && status < 300
  tell(done ? '' : answer.message)
  return done
}

async function start () {
  await startSession()
  const panels = []

  const form = new PublishForm({
    session: () => session,
    reach: (address) => panels.flatMap(({ user, groups, stream }) => {
      const addresses = ['all', `user:${user.id}`, ...[...groups].map((group) => `group:${group}`)]
      if (!addresses.includes(address)) return []
      return stream.state === 'live' ? user.name : `${user.name} on return`
    }),
    send (node, body) {
      run(node, true)
      return request(node, 'POST', '/api/notifications', body)
    },
    takeBack: (node, body) => request(node, 'POST', '/api/notifications/retract', body)
  })

  for (const [index, node] of session.nodes.entries()) {
    document.querySelector(`.stop[data-node="${index}"] b`).textContent = `:${node.port}`
  }

  const [alice] = session.users
  // A second device of the same person, on the other node
  const devices = [...session.users.map((user) => [user.id, user]), ['phone', { ...alice, name: `${alice.name}’s phone`, node: 1 - alice.node }]]
  for (const [place, user] of devices) {
    const panel = new Panel(document.getElementById(place), {
      user,
      node: session.nodes[user.node],
      groupNames: session.groups,
      setGroup,
      renew: startSession,
      token: async () => session.users.find(({ id }) => id === user.id).token,
      on: {
        changed () {
          // A complaint that a node cannot be reached is over when a stream is live again.
          if (panel.stream.state === 'live') tell('')
          form.refresh()
        },
        received (id, replayed) {
          if (!replayed) run(user.node, false)
          form.received(user, id, replayed)
        }
      }
    })
    panels.push(panel)
    panel.stream.connect()
  }
}

start().catch(() => tell('The demo does not answer. Start it with: npm run demo'))
