#!/usr/bin/env bash
# Checks vagrant/: its shell, and, where vagrant is installed, the Vagrantfile (without asking for a provider).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for script in vagrant/*.sh; do bash -n "$script"; done
if command -v shellcheck >/dev/null; then shellcheck -x vagrant/*.sh scripts/check-vagrant.sh; fi
if ! command -v vagrant >/dev/null; then
  echo 'vagrant is not installed: the Vagrantfile was not validated'
  exit
fi
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
# Its home and the machines' states are looked for, and made, in places of their own.
VAGRANT_CWD=vagrant VAGRANT_HOME=$state/home VAGRANT_DOTFILE_PATH=$state/machines VAGRANT_CHECKPOINT_DISABLE=1 \
  vagrant validate --ignore-provider
