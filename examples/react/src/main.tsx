// Starts the page: the provider makes the connection, Strict Mode as in every new project.
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { connect } from 'tidings-client'
import { TidingsProvider } from 'tidings-client/react'
import { App } from './app.tsx'

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <TidingsProvider client={() => connect()}>
      <App />
    </TidingsProvider>
  </StrictMode>
)
