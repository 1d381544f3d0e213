#include "datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define DATAGRAMS_KIND 0x77656461u /* "weda" */
/* Datagrams that wait while the machine is busy, of each socket; the kernel's 208 KiB hold 270 queries. */
#define RECEIVE_BYTES (1 << 20)

void datagrams_unref(struct datagrams *datagrams) {
  if (atomic_fetch_sub(&datagrams->refs, 1) > 1) return;
  pthread_mutex_destroy(&datagrams->gate);
  pthread_mutex_destroy(&datagrams->lock);
  weft_unref(datagrams->weft);
  bytes_free(&datagrams->outgoing);
  free(datagrams->endpoints);
  free(datagrams->receiver);
  free(datagrams);
}

/* ---- beginning and end ---- */

static void free_endpoint(struct endpoint *endpoint) {
  close(endpoint->fd);
  answers_free(&endpoint->answers);
  free(endpoint);
}

static void end_datagrams(struct datagrams *datagrams) {
  struct datagrams **at = &datagrams->weft->datagrams;
  uint64_t one = 1;
  while (*at != datagrams) at = &(*at)->next;
  *at = datagrams->next;
  atomic_store(&datagrams->stopped, true);
  if (write(datagrams->wake_fd, &one, sizeof one) < 0) one = 0; /* full: it will wake as well */
  pthread_join(datagrams->thread, NULL);
  datagrams_flush(datagrams);
  while (datagrams->count > 0) free_endpoint(datagrams->endpoints[--datagrams->count]);
  close(datagrams->epoll_fd);
  close(datagrams->wake_fd);
  napi_delete_reference(datagrams->weft->env, datagrams->callback);
  datagrams_unref(datagrams);
}

void datagrams_end(struct weft *weft) {
  while (weft->datagrams) end_datagrams(weft->datagrams);
}

static void on_datagrams_collected(napi_env env, void *at, void *hint) {
  (void)env;
  (void)hint;
  datagrams_unref(at); /* without datagramsStop the thread has its own reference and goes on */
}

static int start_datagrams(struct datagrams *datagrams) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = 0};
  uint64_t *seed = &datagrams->validity.seed;
  if (getrandom(seed, sizeof *seed, 0) != sizeof *seed) return errno;
  datagrams->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (datagrams->epoll_fd < 0) return errno;
  datagrams->wake_fd = eventfd(0, EFD_CLOEXEC);
  if (datagrams->wake_fd < 0 || epoll_ctl(datagrams->epoll_fd, EPOLL_CTL_ADD, datagrams->wake_fd, &event)) return errno;
  datagrams->receiver = receiver_new();
  return datagrams->receiver ? start_thread(&datagrams->thread, datagrams_body, datagrams) : ENOMEM;
}

static void undo_datagrams(struct datagrams *datagrams) {
  if (datagrams->epoll_fd >= 0) close(datagrams->epoll_fd);
  if (datagrams->wake_fd >= 0) close(datagrams->wake_fd);
  pthread_mutex_destroy(&datagrams->gate);
  pthread_mutex_destroy(&datagrams->lock);
  free(datagrams->receiver);
  free(datagrams);
}

napi_value datagrams_start(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  int64_t own_max = 0, all_max = 0;
  napi_valuetype type = napi_undefined;
  if (!call_begin(env, cbinfo, "datagramsStart", &call)) return NULL;
  napi_typeof(env, call.argv[0], &type);
  if (type != napi_function) return throw_invalid(&call, "callback must be a function");
  if (!arg_int(&call, 1, "ownBytes", 0, INT64_C(1) << 40, &own_max) ||
      !arg_int(&call, 2, "allBytes", 0, INT64_C(1) << 40, &all_max)) {
    return NULL;
  }
  struct datagrams *datagrams = calloc(1, sizeof *datagrams);
  if (!datagrams) return throw_errno(&call, ENOMEM, NULL);
  datagrams->kind = DATAGRAMS_KIND;
  atomic_init(&datagrams->refs, 1);
  datagrams->weft = call.weft;
  datagrams->epoll_fd = datagrams->wake_fd = -1;
  datagrams->own_max = (size_t)own_max;
  datagrams->all_max = (size_t)all_max;
  pthread_mutex_init(&datagrams->gate, NULL);
  pthread_mutex_init(&datagrams->lock, NULL);
  int err = start_datagrams(datagrams);
  if (err) {
    undo_datagrams(datagrams);
    return throw_errno(&call, err, NULL);
  }
  datagrams->next = call.weft->datagrams;
  call.weft->datagrams = datagrams;
  call.weft->refs++;
  napi_value external = NULL;
  napi_create_reference(env, call.argv[0], 1, &datagrams->callback);
  if (napi_create_external(env, datagrams, on_datagrams_collected, NULL, &external) != napi_ok) {
    end_datagrams(datagrams);
    return throw_errno(&call, ENOMEM, NULL);
  }
  atomic_fetch_add(&datagrams->refs, 1);
  return external;
}

napi_value datagrams_stop(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  if (!call_begin(env, cbinfo, "datagramsStop", &call)) return NULL;
  if (!(datagrams = arg_external(&call, 0, "thread of datagrams", DATAGRAMS_KIND))) return NULL;
  if (!atomic_load(&datagrams->stopped)) end_datagrams(datagrams);
  return js_undefined(env);
}

bool datagrams_begin(napi_env env, napi_callback_info cbinfo, const char *op, struct call *call,
                  struct datagrams **datagrams) {
  if (!call_begin(env, cbinfo, op, call)) return false;
  if (!(*datagrams = arg_external(call, 0, "thread of datagrams", DATAGRAMS_KIND))) return false;
  return atomic_load(&(*datagrams)->stopped) ? (throw_errno(call, EBADF, "stopped"), false) : true;
}

/* ---- sockets ---- */

static int add_endpoint(struct datagrams *datagrams, struct endpoint *endpoint) {
  if (datagrams->count == datagrams->room) {
    size_t room = datagrams->room ? datagrams->room * 2 : 16;
    struct endpoint **list = realloc(datagrams->endpoints, room * sizeof(struct endpoint *));
    if (!list) return ENOMEM;
    datagrams->endpoints = list;
    datagrams->room = room;
  }
  endpoint->id = ++datagrams->last_id;
  endpoint->answers.since = datagrams->validity.stamp;
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = endpoint->id};
  if (epoll_ctl(datagrams->epoll_fd, EPOLL_CTL_ADD, endpoint->fd, &event)) return errno;
  datagrams->endpoints[datagrams->count++] = endpoint;
  return 0;
}

napi_value datagrams_add(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  int fd = -1, bytes = RECEIVE_BYTES;
  if (!datagrams_begin(env, cbinfo, "datagramsAdd", &call, &datagrams) || !arg_fd(&call, 1, "fd", false, &fd)) return NULL;
  struct endpoint *endpoint = calloc(1, sizeof *endpoint);
  if (!endpoint) return throw_errno(&call, ENOMEM, NULL);
  endpoint->fd = fd;
  /* As much as may be, where more is not allowed. */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  datagrams_lock(datagrams);
  int err = add_endpoint(datagrams, endpoint);
  uint32_t id = endpoint->id;
  datagrams_unlock(datagrams);
  if (!err) return js_int(env, id);
  free(endpoint);
  return throw_errno(&call, err, NULL);
}

bool arg_endpoint(struct call *call, const struct datagrams *datagrams, struct endpoint **endpoint) {
  int64_t id = 0;
  if (!arg_int(call, 1, "id", 1, UINT32_MAX, &id)) return false;
  *endpoint = find_endpoint(datagrams, (uint32_t)id);
  return *endpoint ? true : (throw_errno(call, ENOENT, "id"), false);
}

napi_value datagrams_remove(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  struct endpoint *endpoint;
  if (!datagrams_begin(env, cbinfo, "datagramsRemove", &call, &datagrams) || !arg_endpoint(&call, datagrams, &endpoint)) {
    return NULL;
  }
  datagrams_lock(datagrams);
  struct endpoint **at = datagrams->endpoints;
  while (*at != endpoint) at++;
  datagrams->count--;
  memmove(at, at + 1, (size_t)(datagrams->endpoints + datagrams->count - at) * sizeof *at);
  datagrams->bytes -= endpoint->answers.bytes;
  datagrams_unlock(datagrams);
  free_endpoint(endpoint);
  return js_undefined(env);
}

static napi_value js_counts(napi_env env, const uint64_t *counts) {
  napi_value array = NULL;
  napi_create_array_with_length(env, KINDS, &array);
  for (uint32_t i = 0; i < KINDS; i++) napi_set_element(env, array, i, js_int(env, (int64_t)counts[i]));
  return array;
}

napi_value datagrams_counts(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  struct endpoint *endpoint;
  if (!datagrams_begin(env, cbinfo, "datagramsCounts", &call, &datagrams) || !arg_endpoint(&call, datagrams, &endpoint)) {
    return NULL;
  }
  napi_value result = NULL;
  napi_create_object(env, &result);
  datagrams_lock(datagrams);
  set_prop(env, result, "hits", js_counts(env, endpoint->hits));
  set_prop(env, result, "streamHits", js_counts(env, endpoint->stream_hits));
  set_prop(env, result, "refused", js_int(env, (int64_t)endpoint->refused));
  set_prop(env, result, "bytes", js_int(env, (int64_t)endpoint->answers.bytes));
  datagrams_unlock(datagrams);
  return result;
}
