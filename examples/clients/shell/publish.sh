#!/usr/bin/env bash
# Signs a token with openssl, publishes over HTTP with curl, and publishes straight through Redis with redis-cli.
set -euo pipefail
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
hmac() { # HMAC-SHA256 by JWT_SECRET of standard input; "openssl dgst -hmac" would show the secret in the list of processes
  local key
  key=$(printf '%s' "$JWT_SECRET" | od -An -v -tx1 | tr -d ' \n')
  if ((${#key} > 128)); then key=$(printf '%s' "$JWT_SECRET" | openssl dgst -sha256 -r | cut -c 1-64); fi
  key=$key$(printf '%0128d' 0)
  pad() { for ((i = 0; i < 128; i += 2)); do printf '\\x%02x' $((0x${key:i:2} ^ $1)); done; }
  { printf "$(pad 0x5c)"; { printf "$(pad 0x36)"; cat; } | openssl dgst -sha256 -binary; } | openssl dgst -sha256 -binary
}
now=$(date +%s)
text=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url).$(printf '{"sub":"orders","iat":%d,"exp":%d,"scope":"notifications:publish"}' "$now" $((now + 300)) | base64url)
token=$text.$(printf '%s' "$text" | hmac | base64url)
to=${TIDINGS_TO//\\/\\\\} # as JSON wants it
to=${to//\"/\\\"}

answer=$(curl -sS --fail-with-body --max-time 10 -H @<(printf 'Authorization: Bearer %s' "$token") -H 'Content-Type: application/json' \
  -H "Idempotency-Key: shell-$(openssl rand -hex 16)" -d "{\"to\":\"$to\",\"data\":{\"from\":\"shell http\"}}" "$TIDINGS_BASE/api/notifications")
id=$(sed -E 's/.*"id":"([0-9]+)".*/\1/' <<< "$answer")

limit=$(command -v timeout || true) # redis-cli would wait for ever if Redis is silent; macOS has no timeout
trap 'if [ $? = 124 ]; then echo "Redis does not answer" >&2; fi' EXIT
limited() { ${limit:+"$limit" 10} redis-cli -e -u "$@"; }
# redis-cli only reports a database that is not there, and goes on in database 0.
if [[ $REDIS_URL =~ ^(.*[^/])/([1-9][0-9]*)$ ]]; then limited "${BASH_REMATCH[1]}" SELECT "${BASH_REMATCH[2]}" >&2; fi
# A password stands in REDISCLI_AUTH, not in this URL, for the same reason.
published=$(limited "$REDIS_URL" --raw FCALL tidings_publish 1 tidings "$TIDINGS_TO" message '{"from":"shell redis"}' | head -1)
echo "$id $published"
