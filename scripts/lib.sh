# shellcheck shell=bash
# Makes a bare Debian 12 fit to build and test weft; sourced by scripts that run as root. No function asks anything, and
# each does nothing where nothing is missing.

# Root of the repository, wherever the script was called from.
WEFT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# Where npm's `node` package goes when the machine's own Node is too old.
WEFT_NODE_PREFIX=/var/cache/weft/node

WEFT_PACKAGES=(
  make gcc libc6-dev
  iproute2 iptables nftables ipvsadm conntrack ethtool kmod
  tcpdump bind9-dnsutils curl wrk socat iputils-ping strace
  procps util-linux user-mode-linux
  knot-dnsutils ldnsutils python3-dnspython busybox-static musl-tools
)

weft_fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

weft_need_root() {
  [ "$(id -u)" = 0 ] || weft_fail "network namespaces need root: sudo $0"
  # sudo and CI may hand over a PATH without the system's own programs.
  PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  export PATH DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none NEEDRESTART_MODE=l
}

weft_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs the Debian packages that are missing; the package lists are fetched only then.
weft_install() {
  local package missing=()
  for package in "$@"; do
    weft_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || weft_fail "no apt-get here; install by hand: ${missing[*]}"
  echo "# apt-get install ${missing[*]}"
  local quiet=(-qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  apt-get "${quiet[@]}" update >&2 || weft_fail 'apt-get update failed'
  apt-get "${quiet[@]}" install -y --no-install-recommends "${missing[@]}" >&2 ||
    weft_fail "apt-get could not install ${missing[*]}"
}

# Is it a Node that weft runs on (20.19 or newer)?
weft_node_fits() {
  [ -x "$1" ] && "$1" -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' 2>/dev/null
}

# Directories that may hold a node: PATH, and what sudo hides of the caller's own.
weft_node_directories() {
  local home
  tr ':' '\n' <<<"$PATH"
  if [ -n "${SUDO_USER:-}" ]; then
    home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    printf '%s\n' "$home"/.nvm/versions/node/*/bin "$home"/.volta/bin "$home"/.local/bin
  fi
  printf '%s\n' "$WEFT_NODE_PREFIX/node_modules/.bin"
}

weft_find_node() {
  local directory
  while read -r directory; do
    if weft_node_fits "$directory/node"; then
      PATH=$directory:$PATH
      return
    fi
  done < <(weft_node_directories)
  return 1
}

# Puts a fitting node first in PATH, and an npm behind it. Debian 12 has Node 18: its npm fetches npm's `node` package
# (the official binaries) into a prefix of weft's own, so that the machine's Node stays what it is.
weft_ensure_node() {
  if ! weft_find_node; then
    command -v npm >/dev/null || weft_install nodejs npm
    echo "# npm install node@20 in $WEFT_NODE_PREFIX"
    mkdir -p "$WEFT_NODE_PREFIX"
    npm install --prefix "$WEFT_NODE_PREFIX" --no-audit --no-fund --no-update-notifier --loglevel=error node@20 >&2 ||
      weft_fail 'npm could not install node@20'
    weft_find_node || weft_fail "no node 20.19 or newer in $WEFT_NODE_PREFIX after its installation"
  fi
  command -v npm >/dev/null || weft_install npm
  export PATH npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false npm_config_yes=true
}

# Does node_modules hold what package-lock.json says? npm writes what it installed into node_modules/.package-lock.json.
weft_modules_fit() {
  node -e '
    const read = (file) => JSON.parse(require("node:fs").readFileSync(file, "utf8")).packages;
    const wanted = Object.entries(read("package-lock.json")).filter(([at, p]) => at && !p.optional && !p.devOptional);
    const have = read("node_modules/.package-lock.json");
    process.exit(wanted.every(([at, p]) => have[at]?.version === p.version) ? 0 : 1)' 2>/dev/null
}

weft_ensure_modules() {
  weft_modules_fit && return
  echo '# npm ci'
  npm ci --loglevel=error >&2 || weft_fail 'npm ci failed'
}

# What root made in a tree of somebody else goes to that somebody, or they could not build any more.
weft_give_back() {
  local owner path
  owner=$(stat -c %u:%g "$WEFT_ROOT")
  [ "$owner" = 0:0 ] && return
  for path in build dist node_modules native/build; do
    [ ! -e "$WEFT_ROOT/$path" ] || chown -R --no-dereference "$owner" "$WEFT_ROOT/$path"
  done
}
