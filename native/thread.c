#include "weft.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

/* node's own threads use 8 MiB; ours call a few system calls deep. glibc's minimum plus room for a sanitizer's frames. */
#define STACK_BYTES (256 * 1024)

/* Every thread of ours has all signals blocked: they belong to node's main thread. */
int start_thread(pthread_t *thread, void *(*body)(void *), void *arg) {
  sigset_t all, before;
  pthread_attr_t attr;
  int err = pthread_attr_init(&attr);
  if (err) return err;
  pthread_attr_setstacksize(&attr, STACK_BYTES);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  err = pthread_create(thread, &attr, body, arg);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attr);
  return err;
}

/*
 * Move the calling thread, which must end afterwards. The mount namespace first, because a file descriptor of a network
 * namespace needs no path. A thread shares its root and working directory with its process (CLONE_FS), and setns(2)
 * refuses a mount namespace for such a thread; unshare gives it its own.
 */
int enter_namespaces(int netns_fd, int mntns_fd) {
  if (mntns_fd >= 0 && (unshare(CLONE_FS) || setns(mntns_fd, CLONE_NEWNS))) return errno;
  if (netns_fd >= 0 && setns(netns_fd, CLONE_NEWNET)) return errno;
  return 0;
}

struct placed {
  int netns_fd, mntns_fd, err;
  place_fn fn;
  void *arg;
};

static void *placed_body(void *arg) {
  struct placed *placed = arg;
  placed->err = enter_namespaces(placed->netns_fd, placed->mntns_fd);
  if (!placed->err) placed->err = placed->fn(placed->arg);
  return NULL;
}

int run_on_thread(int netns_fd, int mntns_fd, place_fn fn, void *arg) {
  struct placed placed = {.netns_fd = netns_fd, .mntns_fd = mntns_fd, .fn = fn, .arg = arg};
  pthread_t thread;
  int err = start_thread(&thread, placed_body, &placed);
  if (err) return err;
  pthread_join(thread, NULL);
  return placed.err;
}

int run_in(int netns_fd, int mntns_fd, place_fn fn, void *arg) {
  return netns_fd < 0 && mntns_fd < 0 ? fn(arg) : run_on_thread(netns_fd, mntns_fd, fn, arg);
}
