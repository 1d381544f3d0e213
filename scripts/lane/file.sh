#!/bin/sh
# Runs one test program for the lane runner, on the host and in a guest alike, under
#   unshare --mount --net sh file.sh TOKEN SECONDS PROGRAM ARGUMENT…
# Its own mount and network namespace make leaks attributable while others work on the machine, keep the machine's
# network out of reach of a wrong test, and remove whatever is left. Reports on standard error, one line each:
#   TOKEN leaked PATH     a namespace the file left mounted
#   TOKEN killed PID …    a process the file left running, with its command line
# Exit status: the program's; 124 when it ran out of time (SIGTERM, so that it can say what it waits for; 137: it then
# had to be killed).
token=$1 seconds=$2
shift 2

# A fresh directory for `ip netns`, and a /sys that shows this network namespace.
mkdir -p /run/netns
mount -t tmpfs -o mode=755 tmpfs /run/netns
mount -t sysfs sysfs /sys
[ ! -d /sys/fs/cgroup ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ip link set lo up

# Namespaces mounted elsewhere. What lies in /run/netns is the file's; the machine's own are hidden under the mount.
namespaces() {
  awk '$0 ~ / - nsfs / && $5 !~ "^/run/netns/" { print $5 }' /proc/self/mountinfo | sort -u
}
before=$(namespaces)

# --foreground: no process group of its own, so that killing this script's group ends everything. The token in the
# environment finds what has left the group.
timeout --foreground --kill-after=5 "$seconds" env "WEFT_LANE_FILE=$token" "$@"
code=$?

for environ in $(grep -lsz "^WEFT_LANE_FILE=$token\$" /proc/[0-9]*/environ); do
  pid=${environ#/proc/}
  pid=${pid%/environ}
  # It may end by itself at any moment: then there is nothing to say.
  words=$(tr '\0' ' ' <"/proc/$pid/cmdline") && kill -9 "$pid" && echo "$token killed $pid $words" >&3
done 3>&2 2>/dev/null

for path in /run/netns/* $(namespaces); do
  [ -e "$path" ] || continue # the pattern itself, where the directory is empty
  case "
$before
" in
  *"
$path
"*) ;;
  *) echo "$token leaked $path" >&2 ;;
  esac
done
exit "$code"
