#include "weft.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

struct place {
  char *path;
  int fd; /* result of opening */
};

/* An empty regular file, as a pin is underneath: anything else at the path is somebody's and is left alone. */
static int check_empty_file(const char *path) {
  struct stat st;
  if (lstat(path, &st)) return errno;
  return S_ISREG(st.st_mode) && st.st_size == 0 ? 0 : EINVAL;
}

static bool is_pin(const char *path) {
  struct statfs fs;
  return statfs(path, &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

/* Needs a thread of its own, which takes the new namespace with it when it ends; only the mount stays. */
static int create_here(void *arg) {
  const struct place *place = arg;
  int fd = open(place->path, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
  if (fd < 0) {
    if (errno != EEXIST) return errno;
    if (is_pin(place->path)) return EEXIST;
    int err = check_empty_file(place->path); /* what a reboot or a gone mount namespace leaves of a pin is reused */
    if (err) return err == EINVAL ? EEXIST : err;
  } else {
    fchmod(fd, 0444); /* whatever the umask is */
    close(fd);
  }
  if (unshare(CLONE_NEWNET) == 0 && mount("/proc/thread-self/ns/net", place->path, NULL, MS_BIND, NULL) == 0) return 0;
  int err = errno;
  unlink(place->path);
  return err;
}

/*
 * unlink(2) of a mount point fails (EBUSY) only for mounts of the caller's own mount namespace; mounts on the file in
 * others are detached by it. So the namespace is freed even where the unmounting does not propagate.
 */
static int delete_here(void *arg) {
  const struct place *place = arg;
  int err = check_empty_file(place->path);
  if (err) return err == ENOENT ? 0 : err;
  while (umount2(place->path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
  }
  if (errno != EINVAL && errno != ENOENT) return errno;
  return unlink(place->path) && errno != ENOENT ? errno : 0;
}

static int open_here(void *arg) {
  struct place *place = arg;
  int fd = open(place->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO here must not block us */
  if (fd < 0) return errno;
  struct statfs fs;
  if (fstatfs(fd, &fs) || fs.f_type != NSFS_MAGIC || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
    close(fd);
    return EINVAL;
  }
  place->fd = fd;
  return 0;
}

static int share_here(void *arg) {
  const struct place *place = arg;
  if (mount(NULL, place->path, NULL, MS_SHARED | MS_REC, NULL) == 0) return 0;
  if (errno != EINVAL) return errno; /* EINVAL: not a mount point yet */
  if (mount(place->path, place->path, NULL, MS_BIND | MS_REC, NULL)) return errno;
  if (mount(NULL, place->path, NULL, MS_SHARED | MS_REC, NULL) == 0) return 0;
  int err = errno;
  umount2(place->path, MNT_DETACH);
  return err;
}

static int unmount_here(void *arg) {
  const struct place *place = arg;
  if (umount2(place->path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return 0;
  return errno == EINVAL || errno == ENOENT ? 0 : errno;
}

/* (path, mntnsFd?): run fn there, and throw what it returns. */
static bool at_path(struct call *call, struct place *place, place_fn fn, bool own_thread) {
  int mntns_fd = -1;
  if (!arg_fd(call, 1, "mntnsFd", true, &mntns_fd) || !arg_string(call, 0, "path", &place->path)) return false;
  int err = (own_thread ? run_on_thread : run_in)(-1, mntns_fd, fn, place);
  if (err) throw_errno(call, err, place->path);
  free(place->path);
  return err == 0;
}

static napi_value at_path_only(napi_env env, napi_callback_info cbinfo, const char *op, place_fn fn, bool own_thread) {
  struct call call;
  struct place place = {.fd = -1};
  if (!call_begin(env, cbinfo, op, &call) || !at_path(&call, &place, fn, own_thread)) return NULL;
  return js_undefined(env);
}

napi_value netns_create(napi_env env, napi_callback_info cbinfo) {
  return at_path_only(env, cbinfo, "netnsCreate", create_here, true);
}

napi_value netns_delete(napi_env env, napi_callback_info cbinfo) {
  return at_path_only(env, cbinfo, "netnsDelete", delete_here, false);
}

napi_value mount_shared(napi_env env, napi_callback_info cbinfo) {
  return at_path_only(env, cbinfo, "mountShared", share_here, false);
}

napi_value unmount(napi_env env, napi_callback_info cbinfo) {
  return at_path_only(env, cbinfo, "unmount", unmount_here, false);
}

/* The list exists so that an environment that ends early (a terminated worker) holds no namespace alive. */
napi_value tracked_fd(struct call *call, int fd) {
  struct weft *weft = call->weft;
  if (weft->netns_count == weft->netns_room) {
    size_t room = weft->netns_room ? weft->netns_room * 2 : 16;
    int *list = realloc(weft->netns_fds, room * sizeof *list);
    if (!list) {
      close(fd);
      return throw_errno(call, ENOMEM, NULL);
    }
    weft->netns_fds = list;
    weft->netns_room = room;
  }
  weft->netns_fds[weft->netns_count++] = fd;
  return js_int(call->env, fd);
}

void netns_fds_end(struct weft *weft) {
  while (weft->netns_count > 0) close(weft->netns_fds[--weft->netns_count]);
}

napi_value netns_open(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct place place = {.fd = -1};
  if (!call_begin(env, cbinfo, "netnsOpen", &call) || !at_path(&call, &place, open_here, false)) return NULL;
  return tracked_fd(&call, place.fd);
}

napi_value netns_open_pid(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  int64_t pid = 0;
  char path[64];
  if (!call_begin(env, cbinfo, "netnsOpenPid", &call) || !arg_int(&call, 0, "pid", 1, INT_MAX, &pid)) return NULL;
  snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
  struct place place = {.path = path, .fd = -1};
  int err = open_here(&place);
  return err ? throw_errno(&call, err, path) : tracked_fd(&call, place.fd);
}

napi_value netns_identity(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct stat st;
  int fd = -1;
  if (!call_begin(env, cbinfo, "netnsIdentity", &call) || !arg_fd(&call, 0, "fd", true, &fd)) return NULL;
  if (fd < 0 ? stat("/proc/self/ns/net", &st) : fstat(fd, &st)) return throw_errno(&call, errno, NULL);
  napi_value identity = NULL, dev = NULL, ino = NULL;
  napi_create_object(env, &identity);
  napi_create_bigint_uint64(env, st.st_dev, &dev);
  napi_create_bigint_uint64(env, st.st_ino, &ino);
  set_prop(env, identity, "dev", dev);
  set_prop(env, identity, "ino", ino);
  return identity;
}

napi_value close_fd(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  int fd = -1;
  if (!call_begin(env, cbinfo, "closeFd", &call) || !arg_fd(&call, 0, "fd", false, &fd)) return NULL;
  struct weft *weft = call.weft;
  for (size_t i = 0; i < weft->netns_count; i++) {
    if (weft->netns_fds[i] != fd) continue;
    weft->netns_fds[i] = weft->netns_fds[--weft->netns_count];
    break;
  }
  return close(fd) ? throw_errno(&call, errno, NULL) : js_undefined(env);
}
