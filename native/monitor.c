#include "monitor.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MONITOR_KIND 0x77656d6fu /* "wemo" */

static void unref_monitor(struct monitor *monitor) {
  if (atomic_fetch_sub(&monitor->refs, 1) > 1) return;
  pthread_mutex_destroy(&monitor->lock);
  weft_unref(monitor->weft);
  free(monitor->ignored);
  free(monitor->scratch);
  free(monitor);
}

static napi_value js_records(napi_env env, const struct batch *batch) {
  napi_value array = NULL;
  napi_create_array_with_length(env, batch->count, &array);
  for (size_t i = 0; i < batch->count; i++) {
    const struct record *record = &batch->records[i];
    napi_value object = NULL, lost = NULL;
    napi_create_object(env, &object);
    set_prop(env, object, "id", js_int(env, record->id));
    if (record->lost) {
      napi_get_boolean(env, true, &lost);
      set_prop(env, object, "lost", lost);
    } else {
      set_prop(env, object, "nsid", js_int(env, record->nsid));
      set_prop(env, object, "bytes", js_buffer(env, batch->bytes.at + record->at, record->len));
    }
    napi_set_element(env, array, (uint32_t)i, object);
  }
  return array;
}

/* An exception from here would end as a deprecation warning (DEP0168); raise it as node's own callbacks do. */
static void call_back(napi_env env, struct monitor *monitor, const struct batch *batch) {
  napi_value callback = NULL, thrown = NULL, args[1];
  if (napi_get_reference_value(env, monitor->callback, &callback) != napi_ok || !callback) return;
  args[0] = js_records(env, batch);
  napi_call_function(env, js_undefined(env), callback, 1, args, NULL);
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending && napi_get_and_clear_last_exception(env, &thrown) == napi_ok) napi_fatal_exception(env, thrown);
}

void monitor_settle(napi_env env, struct job *job) {
  struct batch *batch = (struct batch *)job;
  struct monitor *monitor = batch->monitor;
  if (env && !atomic_load(&monitor->stopped)) call_back(env, monitor, batch);
  atomic_fetch_sub(&monitor->pending, batch->cost);
  if (!atomic_load(&monitor->stopped) && atomic_load(&monitor->paused)) monitor_wake(monitor);
  bytes_free(&batch->bytes);
  free(batch->records);
  free(batch);
  unref_monitor(monitor);
}

static void end_monitor(struct monitor *monitor) {
  struct monitor **at = &monitor->weft->monitors;
  while (*at != monitor) at = &(*at)->next;
  *at = monitor->next;
  atomic_store(&monitor->stopped, true);
  monitor_wake(monitor);
  pthread_join(monitor->thread, NULL);
  for (struct source *source = monitor->sources, *next; source; source = next) {
    next = source->next;
    close(source->fd);
    free(source);
  }
  monitor->sources = NULL;
  close(monitor->epoll_fd);
  close(monitor->wake_fd);
  napi_delete_reference(monitor->weft->env, monitor->callback);
  unref_monitor(monitor);
}

void monitors_end(struct weft *weft) {
  while (weft->monitors) end_monitor(weft->monitors);
}

static void on_monitor_collected(napi_env env, void *at, void *hint) {
  (void)env;
  (void)hint;
  unref_monitor(at); /* without monitorStop the thread has its own reference and goes on */
}

static int start_monitor(struct monitor *monitor) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = 0};
  monitor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (monitor->epoll_fd < 0) return errno;
  monitor->wake_fd = eventfd(0, EFD_CLOEXEC);
  if (monitor->wake_fd < 0 || epoll_ctl(monitor->epoll_fd, EPOLL_CTL_ADD, monitor->wake_fd, &event)) return errno;
  monitor->scratch = malloc(NL_DATAGRAM_MAX);
  return monitor->scratch ? start_thread(&monitor->thread, monitor_body, monitor) : ENOMEM;
}

static void undo_monitor(struct monitor *monitor) {
  if (monitor->epoll_fd >= 0) close(monitor->epoll_fd);
  if (monitor->wake_fd >= 0) close(monitor->wake_fd);
  pthread_mutex_destroy(&monitor->lock);
  free(monitor->scratch);
  free(monitor);
}

napi_value monitor_start(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  int64_t max_pending = 0, rcvbuf = 0;
  napi_valuetype type = napi_undefined;
  if (!call_begin(env, cbinfo, "monitorStart", &call)) return NULL;
  napi_typeof(env, call.argv[0], &type);
  if (type != napi_function) return throw_invalid(&call, "callback must be a function");
  if (!prop_int(&call, call.argv[1], "maxPendingBytes", 1, INT64_C(1) << 40, 4 << 20, &max_pending) ||
      !prop_int(&call, call.argv[1], "rcvbufBytes", 1, INT_MAX / 2, 4 << 20, &rcvbuf)) {
    return NULL;
  }
  struct monitor *monitor = calloc(1, sizeof *monitor);
  if (!monitor) return throw_errno(&call, ENOMEM, NULL);
  *monitor = (struct monitor){.kind = MONITOR_KIND, .refs = 1, .weft = call.weft, .epoll_fd = -1, .wake_fd = -1,
                              .rcvbuf = (int)rcvbuf, .max_pending = max_pending};
  pthread_mutex_init(&monitor->lock, NULL);
  int err = start_monitor(monitor);
  if (err) {
    undo_monitor(monitor);
    return throw_errno(&call, err, NULL);
  }
  monitor->next = call.weft->monitors;
  call.weft->monitors = monitor;
  call.weft->refs++;
  napi_value external = NULL;
  napi_create_reference(env, call.argv[0], 1, &monitor->callback);
  if (napi_create_external(env, monitor, on_monitor_collected, NULL, &external) != napi_ok) {
    end_monitor(monitor);
    return throw_errno(&call, ENOMEM, NULL);
  }
  atomic_fetch_add(&monitor->refs, 1);
  return external;
}

static bool monitor_begin(napi_env env, napi_callback_info cbinfo, const char *op, struct call *call,
                          struct monitor **monitor) {
  if (!call_begin(env, cbinfo, op, call) || !(*monitor = arg_external(call, 0, "monitor", MONITOR_KIND))) return false;
  return atomic_load(&(*monitor)->stopped) ? (throw_errno(call, EBADF, "stopped monitor"), false) : true;
}

static int add_source(struct monitor *monitor, int fd, uint32_t *id) {
  struct source *source = calloc(1, sizeof *source);
  if (!source) return ENOMEM;
  pthread_mutex_lock(&monitor->lock);
  *source = (struct source){.next = monitor->sources, .id = ++monitor->last_id, .fd = fd};
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = source->id};
  int err = epoll_ctl(monitor->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? errno : 0;
  if (!err) monitor->sources = source;
  *id = source->id;
  pthread_mutex_unlock(&monitor->lock);
  if (err) free(source);
  return err;
}

napi_value monitor_add(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct monitor *monitor;
  int netns_fd = -1;
  int64_t protocol = 0;
  bool all_nsids = false;
  uint32_t *groups = NULL, id = 0;
  size_t group_count = 0;
  char subject[48];
  if (!monitor_begin(env, cbinfo, "monitorAdd", &call, &monitor) || !arg_fd(&call, 1, "netnsFd", true, &netns_fd) ||
      !arg_int(&call, 2, "protocol", 0, 31, &protocol)) {
    return NULL;
  }
  if (!arg_absent(&call, 4) && napi_get_value_bool(env, call.argv[4], &all_nsids) != napi_ok) {
    return throw_invalid(&call, "allNsids must be a boolean");
  }
  if (!arg_int_array(&call, 3, "groups", 1, INT_MAX, &groups, &group_count)) return NULL;
  struct nl_open want = {.protocol = (int)protocol, .rcvbuf = monitor->rcvbuf, .all_nsids = all_nsids,
                         .groups = groups, .group_count = group_count};
  int err = run_in(netns_fd, -1, nl_open_here, &want);
  free(groups);
  if (!err) {
    err = add_source(monitor, want.fd, &id);
    if (err) close(want.fd);
  }
  snprintf(subject, sizeof subject, "protocol %d", want.protocol);
  return err ? throw_errno(&call, err, subject) : js_int(env, id);
}

napi_value monitor_remove(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct monitor *monitor;
  int64_t id = 0;
  if (!monitor_begin(env, cbinfo, "monitorRemove", &call, &monitor) || !arg_int(&call, 1, "id", 1, UINT32_MAX, &id)) {
    return NULL;
  }
  pthread_mutex_lock(&monitor->lock);
  struct source **at = &monitor->sources;
  while (*at && (*at)->id != (uint32_t)id) at = &(*at)->next;
  struct source *gone = *at;
  if (gone) {
    *at = gone->next;
    close(gone->fd);
  }
  pthread_mutex_unlock(&monitor->lock);
  free(gone);
  return gone ? js_undefined(env) : throw_errno(&call, ENOENT, "id");
}

napi_value monitor_ignore(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct monitor *monitor;
  uint32_t *list = NULL;
  size_t count = 0;
  if (!monitor_begin(env, cbinfo, "monitorIgnore", &call, &monitor) ||
      !arg_int_array(&call, 1, "portIds", 0, UINT32_MAX, &list, &count)) {
    return NULL;
  }
  pthread_mutex_lock(&monitor->lock);
  uint32_t *before = monitor->ignored;
  monitor->ignored = list;
  monitor->ignored_count = count;
  pthread_mutex_unlock(&monitor->lock);
  free(before);
  return js_undefined(env);
}

napi_value monitor_stop(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct monitor *monitor;
  if (!call_begin(env, cbinfo, "monitorStop", &call)) return NULL;
  if (!(monitor = arg_external(&call, 0, "monitor", MONITOR_KIND))) return NULL;
  if (!atomic_load(&monitor->stopped)) end_monitor(monitor);
  return js_undefined(env);
}
