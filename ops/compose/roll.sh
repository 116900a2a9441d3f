#!/bin/sh
# Replaces the nodes of docker-compose.yml one by one, with a new image or new settings, and refuses nobody meanwhile:
#
#   ops/compose/roll.sh              builds the image first
#   ops/compose/roll.sh --no-build   takes the image as it is (built or pulled before)
#
# For each old node a new one is started and must be ready; then the old one drains (DRAIN_SECONDS), and is removed.
# Streams resume on the others. Interrupted, it leaves as many nodes as it found. Stopped nodes are removed first.
# A second one waits for the first (on Linux).
# COMPOSE is the command with its options, if not "docker compose" or "docker-compose".
set -eu
say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
build=1
case $* in
  '') ;;
  --no-build) build= ;;
  -h | --help) sed -n '2,/^set/ s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) say "Unknown: $*. It takes --no-build or nothing; --help says more." >&2; exit 2 ;;
esac
cd "$(dirname "$0")/../.."
if [ -z "${COMPOSE:-}" ]; then
  COMPOSE=docker-compose
  if docker compose version > /dev/null 2>&1; then COMPOSE='docker compose'; fi
fi
nodes() { $COMPOSE ps -q node; }
ready() { docker exec "$1" node -e "fetch('http://127.0.0.1:3000/readyz', { signal: AbortSignal.timeout(2000) }).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))" 2> /dev/null; }

# What was begun is taken back, so that there are as many nodes as before. The new one may have streams already.
undo() {
  trap '' INT TERM HUP
  for new in $(nodes | grep -vF "$before"); do docker stop "$new" > /dev/null; docker rm "$new" > /dev/null; done
  fail 'Interrupted. The new node was taken away again, and the old ones go on.'
}

# Two at the same time would take each other's new nodes for old ones, and stop in the middle.
if command -v flock > /dev/null; then
  exec 9< . # the folder stays the same through an update of its files
  flock -n 9 || {
    say 'Another roll.sh is at work; this one begins when it ends.'
    flock 9 || say 'This file system has no locks: see to it yourself that no other roll.sh is at work.'
  }
fi
[ -z "$build" ] || $COMPOSE build node
# A stopped node would be started again as it is, and be taken for the new one.
for gone in $($COMPOSE ps -aq node); do
  case $(docker inspect --format '{{.State.Status}}' "$gone") in exited | created | dead) docker rm "$gone" > /dev/null ;; esac
done
old=$(nodes)
[ -n "$old" ] || fail 'No node is running. Type: docker compose up -d'
count=$(say "$old" | wc -l)

for gone in $old; do
  before=$(nodes)
  trap undo INT TERM HUP
  $COMPOSE up -d --no-deps --no-build --no-recreate --scale "node=$((count + 1))" node
  new=$(nodes | grep -vF "$before") || fail 'No new node was started; nothing was stopped.'
  tries=60
  until ready "$new"; do
    tries=$((tries - 1))
    if [ $tries -eq 0 ]; then
      docker logs --tail 20 "$new" >&2
      docker rm -f "$new" > /dev/null
      fail 'The new node did not become ready in a minute; its last words are above. It was taken away again, and the old ones go on.'
    fi
    sleep 1
  done
  # nginx looks for nodes every 2 seconds.
  sleep 5
  trap - INT TERM HUP
  say "$(docker inspect --format '{{.Name}}' "$new" | tr -d /) is ready; $(docker inspect --format '{{.Name}}' "$gone" | tr -d /) drains"
  docker stop "$gone" > /dev/null
  docker rm "$gone" > /dev/null
done
say "$count of $count nodes replaced"
