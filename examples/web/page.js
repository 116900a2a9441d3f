// One stream for all tabs of this page, with a new ticket for each connect.
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
document.getElementById('say').onclick = () => fetch('/say', { method: 'POST' })
