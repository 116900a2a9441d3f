#!/usr/bin/env bash
# Publishes straight through Redis: one Redis or a Cluster, one partition or many. REDISCLI_AUTH has the password.
set -euo pipefail
limit=$(command -v timeout || true) # redis-cli would wait for ever if Redis is silent; macOS has no timeout
trap 'if [ $? = 124 ]; then echo "Redis does not answer" >&2; fi' EXIT
redis() { ${limit:+"$limit" 10} redis-cli -c -e --raw -h "${address%:*}" -p "${address##*:}" ${REDIS_USER:+--user "$REDIS_USER"} "$@"; }

slot() { # that of CLUSTER KEYSLOT: CRC-16 of what stands between the first { and the next }, or of all
  local name=$1 crc=0 byte bit
  if [[ $name =~ ^[^{]*\{([^}]+)\} ]]; then name=${BASH_REMATCH[1]}; fi
  for byte in $(printf '%s' "$name" | od -An -v -tu1); do
    crc=$((crc ^ byte << 8))
    for bit in {1..8}; do crc=$((crc & 0x8000 ? (crc << 1 ^ 0x1021) & 0xffff : crc << 1)); done
  done
  echo $((crc % 16384))
}

: "${REDIS_ADDRESSES:?}"
for address in ${REDIS_ADDRESSES//,/ }; do # the first one that answers
  list=$(redis LRANGE tidings:partitions 0 -1) && break
done || exit
prefixes=(${list:-tidings})
home() { echo "${prefixes[$(slot "${1#*:}") * ${#prefixes[@]} / 16384]}"; }

for to in "$@"; do # for example user:42 group:Complaints all
  id=$(redis FCALL tidings_publish 1 "$(home "$to")" "$to" message '{"title":"Hello"}' | head -1)
  echo "$to $id"
  id=$(redis FCALL tidings_publish 1 "$(home "$to")" "$to" message '{"title":"A mistake"}' TTL 3600 | head -1)
  taken=$(redis FCALL tidings_retract 1 "$(home "$to")" "$to" ID "$id")
  echo "$to $([ "$taken" = 1 ] || echo 'not ')taken back"
done
