# The image of one Tidings node: production dependencies, src/ and the browser module. Node runs the TypeScript as it
# is, so there is no build step: what you read in the repository is what runs.

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# No production dependency needs an install script, so none may run one.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-slim
# A container is reached only by its own address, so the node listens on all addresses.
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=3000
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY src ./src
# The browser module, as the repository has it.
COPY client/dist/tidings.js ./client/dist/
# The files belong to root, so a process that is taken over can read the program but not change it.
USER node
EXPOSE 3000
# This asks whether the node is alive, not whether it is ready: a node that waits for Redis must not be restarted,
# because it recovers by itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "import('./src/health.ts')"]
# Exec form, so that node itself gets SIGTERM, which starts the drain. In the 50 ms before its first line process 1 of a
# container does not receive signals; `docker run --init` (docker-compose.yml: init) covers that time.
CMD ["node", "--disable-sigusr1", "src/server.ts"]
