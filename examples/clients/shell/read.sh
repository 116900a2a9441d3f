#!/usr/bin/env bash
# Reads a stream with curl. Prints one line an event: id, event, data. curl does not reconnect: the loop does.
set -u
: "${TIDINGS_URL:?is not set}" "${TIDINGS_TOKEN:?is not set}"
last_id='' retry_ms=3000
while true; do
  status_file=$(mktemp)
  while IFS= read -r line; do
    line=${line%$'\r'}
    case $line in
      '') if [ -n "${data+x}" ]; then printf '%s\t%s\t%s\n' "${id-}" "${event-message}" "$data"; fi
          last_id=${id-$last_id}; unset id event data ;;
      'id: '*) id=${line#id: } ;;
      'event: '*) event=${line#event: } ;;
      'data: '*) data=${line#data: } ;;
      'retry: '*) retry_ms=${line#retry: } ;;
    esac
  done < <(curl -sN --fail --connect-timeout 10 --speed-limit 1 --speed-time 30 -w '%{stderr}%{http_code}' \
    -H @<(printf 'Authorization: Bearer %s' "$TIDINGS_TOKEN") ${last_id:+-H "Last-Event-ID: $last_id"} "$TIDINGS_URL" 2>"$status_file")
  unset id event data
  status=$(tail -c 3 "$status_file"); rm -f "$status_file"
  case $status in
    204) exit 0 ;; # ended for good: logged out, or replaced
    200) ;;
    ''|000) echo 'trying again: no answer' >&2 ;;
    408|429|[!4]??) echo "trying again: answered $status" >&2 ;;
    *) echo "refused: $status" >&2; exit 1 ;; # 401 and 403: get another token; 404: look at the URL
  esac
  sleep "$((retry_ms / 1000)).$(printf '%03d' $((retry_ms % 1000)))"
done
