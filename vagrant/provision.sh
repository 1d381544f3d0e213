#!/usr/bin/env bash
# Makes a Debian 12 machine a node with the agent as a systemd service, or a client. Run again, it brings the machine to
# the state of the tree beside it; the agent is restarted, the data plane is not.
# usage: provision.sh node NAME ADDRESS    ADDRESS is the underlay address of this machine
#        provision.sh client
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

usage() {
  echo "usage: ${0##*/} node NAME ADDRESS | client" >&2
  exit 2
}

build() {
  cd "$WEFT_ROOT"
  weft_ensure_node
  weft_ensure_modules
  npm run -s build
  weft_give_back
}

# The programs by the names that people type, with the node that they were built for.
install_programs() {
  local node program
  node=$(command -v node)
  for program in weft weftd; do
    printf '#!/bin/sh\nexec %q %q "$@"\n' "$node" "$WEFT_ROOT/dist/$program.js" >"/usr/local/bin/$program"
    chmod 755 "/usr/local/bin/$program"
  done
}

install_service() {
  local name=$1 address=$2
  install -d -m 755 /etc/weft
  printf 'node: %s\nadvertise: %s\n' "$name" "$address" >/etc/weft/weftd.yaml
  install -m 644 "$WEFT_ROOT/vagrant/weftd.service" /etc/systemd/system/weftd.service
  systemctl daemon-reload
  systemctl enable --quiet weftd
  systemctl restart weftd
}

weft_need_root
case "$*" in
  'node '*' '*)
    [ $# = 3 ] || usage
    weft_install "${WEFT_PACKAGES[@]}"
    build
    install_programs
    install_service "$2" "$3"
    weft status
    ;;
  client)
    weft_install curl wrk bind9-dnsutils iproute2 iputils-ping tcpdump
    ;;
  *) usage ;;
esac
