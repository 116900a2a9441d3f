// One stream for all tabs of this page, and its inbox, with a new ticket for each connect and each request.
import { connect } from '{{tidings}}/client.js'

const tidings = connect({
  url: '{{tidings}}',
  ticket: async () => (await (await fetch('/ticket', { method: 'POST' })).json()).ticket
})

const show = () => { document.getElementById('state').textContent = tidings.state }
show()
tidings.subscribe(show)
tidings.on('message', ({ title }) => {
  const item = document.createElement('li')
  item.textContent = title
  document.getElementById('list').append(item)
})
tidings.inbox.subscribe(() => { document.getElementById('badge').textContent = tidings.inbox.unread })
document.getElementById('read').onclick = () => tidings.inbox.read()
document.getElementById('say').onclick = () => fetch('/say', { method: 'POST' })
