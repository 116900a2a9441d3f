// The service behind the same origin as the page, as in production: then its cookie is enough.
export default {
  server: { proxy: { '/api': process.env.TIDINGS_URL ?? 'http://127.0.0.1:3000' } },
  // tidings-client is a folder of this repository here: taken as if it were copied, so that it finds React, and Vite
  // serves it.
  resolve: { preserveSymlinks: true }
}
