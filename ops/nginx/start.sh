#!/bin/sh
# Starts nginx with nginx.conf and what these variables ask for; docker-compose.yml hands them on.
#
#   TIDINGS_TLS_PORT       TLS and HTTP/2, on a port that clients know by this number; HTTP is then redirected there
#   TIDINGS_CERTIFICATES   the folder of tls.crt and tls.key; without them a self-signed certificate is made, anew at
#                          each start, and again while it runs, 30 days before that one ends
#   TIDINGS_BALANCERS      addresses or CIDR ranges of balancers in front, comma-separated: theirs is the
#                          X-Forwarded-For that counts
#
# And it keeps the addresses of the nodes fresh: nginx 1.27.3 and later looks them up by itself, an older one is told
# to. Nodes that have addresses of IPv6 alone are asked there; they must listen on them (HOST=::).
set -eu
conf=${NGINX_CONF:-/etc/nginx/nginx.conf}
work=${NGINX_WORK:-/tmp}
certificates=${TIDINGS_CERTIFICATES:-/etc/nginx/certificates}
tls_listen=${NGINX_TLS_LISTEN:-8443}

fail() { printf '%s\n' "$*" >&2; exit 1; }
version=$(nginx -v 2>&1 | sed 's,.*nginx/,,; s,[^0-9.].*,,')
at_least() { [ "$(printf '%s\n' "$1" "$version" | sort -V | head -n 1)" = "$1" ]; }
# For a name with IPv4 addresses only, this prints ::ffff:… addresses.
ipv6() { getent ahostsv6 node | cut -d ' ' -f 1 | grep -v '^::ffff:' | sort -u; }
ipv4() { getent ahostsv4 node | cut -d ' ' -f 1 | sort -u; }
addresses() { found=$(ipv4); printf '%s\n' "${found:-$(ipv6)}"; }
make_certificate() {
  (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$1" -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' -keyout "$work/tls.key" -out "$work/tls.crt" 2> /dev/null)
}

mkdir -p "$work/tidings.d"
rm -f "$work"/tidings.d/*.conf
nodes=
made=
if at_least 1.27.3; then
  resolvers=$(sed -nE 's/^nameserver +([0-9.]+)$/\1/p; s/^nameserver +([0-9a-fA-F:]*:[0-9a-fA-F:]*)$/[\1]/p' /etc/resolv.conf | tr '\n' ' ')
  other=ipv6
  if [ -z "$(ipv4)" ] && [ -n "$(ipv6)" ]; then other=ipv4; fi
  printf 'resolver %s valid=2s %s=off;\n' "$resolvers" "$other" > "$work/tidings.d/http-resolver.conf"
  nodes='s/^( *server node:3000) /\1 resolve /'
fi
# Repeats a line that listens on all addresses of IPv4 for those of IPv6. A kernel without IPv6 would refuse it.
ipv6_too=
if [ -e /proc/net/if_inet6 ]; then ipv6_too='s/^( *)listen ([0-9]+)( [^;]*)?;/&\n\1listen [::]:\2\3;/'; fi
# A port for which nginx.conf has such a line itself is left alone: with two, nginx does not start.
in_conf=$ipv6_too
taken=$(sed -nE 's/^ *listen +\[::\]:([0-9]+).*/\1/p' "$conf" | tr '\n' '|')
if [ -n "$ipv6_too" ] && [ -n "$taken" ]; then in_conf="/listen (${taken%|})[ ;]/!$ipv6_too"; fi
sed -E -e "$nodes" -e "$in_conf" "$conf" > "$work/nginx.conf"

if [ -n "${TIDINGS_BALANCERS:-}" ]; then
  case $TIDINGS_BALANCERS in
    *[!0-9A-Za-z.:/,\ -]*)
      fail "TIDINGS_BALANCERS must be addresses or CIDR ranges, comma-separated, not \"$TIDINGS_BALANCERS\"" ;;
  esac
  {
    printf '%s\n' "$TIDINGS_BALANCERS" | tr ', ' '\n\n' | sed -n 's/..*/set_real_ip_from &;/p'
    printf 'real_ip_header X-Forwarded-For;\nreal_ip_recursive on;\n'
  } > "$work/tidings.d/http-balancers.conf"
fi

if [ -n "${TIDINGS_TLS_PORT:-}" ]; then
  case $TIDINGS_TLS_PORT in 0* | *[!0-9]* | ??????*) fail "TIDINGS_TLS_PORT must be the number of a port, not \"$TIDINGS_TLS_PORT\"" ;; esac
  if [ -e "$certificates/tls.crt" ] || [ -e "$certificates/tls.key" ]; then
    for file in tls.crt tls.key; do
      [ -r "$certificates/$file" ] || fail "$certificates/$file cannot be read: both tls.crt and tls.key must be there, and readable for user $(id -u)"
    done
  else
    [ -z "${CERTIFICATES_FROM:-}" ] || fail "TIDINGS_CERTIFICATES is $CERTIFICATES_FROM, but no tls.crt and no tls.key is there"
    certificates=$work
    command -v openssl > /dev/null || fail 'There is no openssl to make a certificate with: give one in TIDINGS_CERTIFICATES (tls.crt and tls.key)'
    make_certificate "${NGINX_CERTIFICATE_DAYS:-365}"
    made=1
    printf 'No certificate was given: a self-signed one for localhost was made. Browsers warn of it.\n' >&2
  fi
  listen="listen $tls_listen ssl http2 backlog=65535;"
  if at_least 1.25.1; then listen="listen $tls_listen ssl backlog=65535; http2 on;"; fi
  port=:$TIDINGS_TLS_PORT
  if [ "$port" = :443 ]; then port=; fi
  sed -E "$ipv6_too" > "$work/tidings.d/server-tls.conf" <<CONF
$listen
ssl_certificate "$certificates/tls.crt";
ssl_certificate_key "$certificates/tls.key";
ssl_protocols TLSv1.2 TLSv1.3;
ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
ssl_session_cache shared:tls:10m;
ssl_session_timeout 1h;
ssl_session_tickets off;
# 308 keeps the method and the body. A balancer that ends TLS says so in X-Forwarded-Proto.
if (\$forwarded_proto = http) {
  return 308 https://\$host$port\$request_uri;
}
CONF
fi

if [ -z "$nodes" ] || [ -n "$made" ]; then
  # When nginx reloads its configuration, streams stay with the old workers.
  (
    known=$(addresses)
    rounds=0
    # By then $$ is nginx.
    while sleep 2 && kill -0 $$ 2> /dev/null; do
      # Once an hour, check whether it ends within 30 days.
      if [ -n "$made" ] && [ $((rounds % 1800)) = 0 ] && ! openssl x509 -in "$work/tls.crt" -noout -checkend 2592000 > /dev/null; then
        if make_certificate 365 && nginx -c "$work/nginx.conf" -s reload; then printf 'The self-signed certificate was near its end: a new one was made.\n' >&2; fi
      fi
      rounds=$((rounds + 1))
      [ -z "$nodes" ] || continue
      now=$(addresses)
      if [ -n "$now" ] && [ "$now" != "$known" ]; then nginx -c "$work/nginx.conf" -s reload && known=$now; fi
    done
  ) &
fi
exec nginx -c "$work/nginx.conf" -g 'daemon off;'
