# The image of one Tidings node: production dependencies, src/ and nothing else. Node runs the TypeScript as it is, so
# there is no build step and what is read in the repository is what runs.

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# No dependency that runs in production needs an install script, so none is given the chance to run one.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-slim
# In a container the only way in is the container's own address, so the node listens on every one.
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=3000
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY src ./src
# The browser module, as the repository has it.
COPY client/dist/tidings.js ./client/dist/
# The files stay root's: a process that is taken over can read the program, not change it.
USER node
EXPOSE 3000
# Alive, not ready: a node that waits for Redis must not be restarted, it comes back by itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "import('./src/health.ts')"]
# Exec form: node gets SIGTERM itself, which starts the drain. With `docker run --init` (docker-compose.yml: init) also
# in the 50 ms before its first line, in which process 1 of a container would not hear it.
CMD ["node", "--disable-sigusr1", "src/server.ts"]
