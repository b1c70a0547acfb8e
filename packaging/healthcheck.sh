#!/usr/bin/env bash
# Succeeds while the node of this container lives: its page answers /healthz with 200. Without a page
# (HTTP_PORT=0) its peers' port must take connections. It needs bash and nothing else.
set -eu
peers=${PORT:-4001}
http=${HTTP_PORT:-$((peers + 4000))}
if [ "$http" = 0 ]; then
  exec 3<>"/dev/tcp/127.0.0.1/$peers"
  exit 0
fi
exec 3<>"/dev/tcp/127.0.0.1/$http"
printf 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 4 _ status _ <&3
[ "$status" = 200 ]
