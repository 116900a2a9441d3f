#!/usr/bin/env bash
# Signs a token with openssl, publishes over HTTP with curl, and publishes straight through Redis with redis-cli.
set -euo pipefail
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
now=$(date +%s)
text=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url).$(printf '{"sub":"orders","iat":%d,"exp":%d,"scope":"notifications:publish"}' "$now" $((now + 300)) | base64url)
token=$text.$(printf '%s' "$text" | openssl dgst -sha256 -hmac "$JWT_SECRET" -binary | base64url)

answer=$(curl -sS --fail-with-body -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
  -H "Idempotency-Key: shell-$now-$RANDOM" -d "{\"to\":\"$TIDINGS_TO\",\"data\":{\"from\":\"shell http\"}}" "$TIDINGS_BASE/api/notifications")
id=$(sed -E 's/.*"id":"([0-9]+)".*/\1/' <<< "$answer")

published=$(redis-cli -u "$REDIS_URL" --raw FCALL tidings_publish 1 tidings "$TIDINGS_TO" message '{"from":"shell redis"}' | head -1)
echo "$id $published"
