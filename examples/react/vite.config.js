// The service behind the same origin as the page, as in production: then its cookie is enough.
export default {
  server: { proxy: { '/api': process.env.TIDINGS_URL ?? 'http://127.0.0.1:3000' } }
}
