#include "weft.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * /proc/sys/net shows the tables of the namespace of the thread that opens the file (net/sysctl_net.c looks them up by
 * current->nsproxy), whichever mount of proc is used. So one thread reads or writes a whole list.
 */

struct setting {
  char *path, *value; /* value: to write, or what was read */
  int err;
};

struct settings {
  struct setting *list;
  uint32_t count;
};

static void free_settings(struct settings *settings) {
  for (uint32_t i = 0; i < settings->count; i++) {
    free(settings->list[i].path);
    free(settings->list[i].value);
  }
  free(settings->list);
}

/* Relative, and no component that is empty, "." or "..": the path must stay below /proc/sys. */
static bool is_below(const char *path) {
  for (const char *at = path;; at++) {
    size_t len = strcspn(at, "/");
    if (len == 0 || (len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.')) return false;
    at += len;
    if (!*at) return true;
  }
}

static int open_setting(const char *path, int flags) {
  char full[PATH_MAX];
  if ((size_t)snprintf(full, sizeof full, "/proc/sys/%s", path) >= sizeof full) return -ENAMETOOLONG;
  int fd = open(full, flags | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int read_one(struct setting *setting) {
  struct bytes bytes = {0};
  int fd = open_setting(setting->path, O_RDONLY), err = 0;
  if (fd < 0) return -fd;
  for (;;) {
    if (!bytes_reserve(&bytes, 4096)) err = ENOMEM;
    ssize_t n = err ? 0 : read(fd, bytes.at + bytes.len, bytes.room - bytes.len - 1);
    if (n < 0) err = errno;
    if (n <= 0) break;
    bytes.len += (size_t)n;
  }
  close(fd);
  if (err) {
    bytes_free(&bytes);
    return err;
  }
  while (bytes.len && bytes.at[bytes.len - 1] == '\n') bytes.len--;
  bytes.at[bytes.len] = 0;
  setting->value = (char *)bytes.at;
  return 0;
}

/* One write(2): the kernel takes a value whole. */
static int write_one(struct setting *setting) {
  int fd = open_setting(setting->path, O_WRONLY);
  if (fd < 0) return -fd;
  int err = write(fd, setting->value, strlen(setting->value)) < 0 ? errno : 0;
  close(fd);
  return err;
}

static int read_here(void *arg) {
  const struct settings *settings = arg;
  for (uint32_t i = 0; i < settings->count; i++) settings->list[i].err = read_one(&settings->list[i]);
  return 0;
}

static int write_here(void *arg) {
  const struct settings *settings = arg;
  for (uint32_t i = 0; i < settings->count; i++) settings->list[i].err = write_one(&settings->list[i]);
  return 0;
}

static bool fill_setting(struct call *call, napi_value item, bool pairs, struct setting *setting) {
  napi_value path = item, value = NULL;
  bool array = true;
  if (pairs) napi_is_array(call->env, item, &array);
  if (!array) return throw_invalid(call, "each pair must be [path, value]"), false;
  if (pairs) {
    napi_get_element(call->env, item, 0, &path);
    napi_get_element(call->env, item, 1, &value);
  }
  if (!value_string(call, path, "each path", &setting->path)) return false;
  if (pairs && !value_string(call, value, "each value", &setting->value)) return false;
  if (is_below(setting->path)) return true;
  return throw_invalid(call, "'%.100s' is no path below /proc/sys", setting->path), false;
}

static bool fill_settings(struct call *call, bool pairs, struct settings *settings) {
  uint32_t count = 0;
  if (!arg_array(call, 1, pairs ? "pairs" : "paths", &count)) return false;
  settings->list = calloc(count ? count : 1, sizeof *settings->list);
  if (!settings->list) return throw_errno(call, ENOMEM, NULL), false;
  settings->count = count;
  for (uint32_t i = 0; i < count; i++) {
    napi_value item = NULL;
    napi_get_element(call->env, call->argv[1], i, &item);
    if (!fill_setting(call, item, pairs, &settings->list[i])) return false;
  }
  return true;
}

/* What was read, or the name of the errno of a failed write; null else. */
static napi_value js_setting(napi_env env, const struct setting *setting, bool pairs) {
  napi_value none = NULL;
  napi_get_null(env, &none);
  if (pairs) {
    const char *name = strerrorname_np(setting->err);
    return setting->err ? js_string(env, name ? name : "EUNKNOWN") : none;
  }
  return setting->err ? none : js_string(env, setting->value);
}

static napi_value sysctl(napi_env env, napi_callback_info cbinfo, const char *op, bool pairs) {
  struct call call;
  struct settings settings = {0};
  int netns_fd = -1;
  napi_value result = NULL;
  if (!call_begin(env, cbinfo, op, &call) || !arg_fd(&call, 0, "netnsFd", true, &netns_fd)) return NULL;
  if (fill_settings(&call, pairs, &settings)) {
    int err = run_in(netns_fd, -1, pairs ? write_here : read_here, &settings);
    if (err) throw_errno(&call, err, "netnsFd");
    else napi_create_array_with_length(env, settings.count, &result);
    for (uint32_t i = 0; !err && i < settings.count; i++) {
      napi_set_element(env, result, i, js_setting(env, &settings.list[i], pairs));
    }
  }
  free_settings(&settings);
  return result;
}

napi_value sysctl_read(napi_env env, napi_callback_info cbinfo) {
  return sysctl(env, cbinfo, "sysctlRead", false);
}

napi_value sysctl_write(napi_env env, napi_callback_info cbinfo) {
  return sysctl(env, cbinfo, "sysctlWrite", true);
}
