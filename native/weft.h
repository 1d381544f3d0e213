/*
 * The addon's one header. Who may call what: everything that takes a napi_env runs on the environment's loop thread;
 * the threads started here touch no napi object and reach the loop through post_job() alone.
 * Functions that return int return 0 or a positive errno.
 */
#ifndef WEFT_H
#define WEFT_H

#include <node_api.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__linux__) || !defined(__GLIBC__)
#error "weft needs Linux with glibc (strerrorname_np, pthread_mutex_clocklock)"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the codecs above this addon read and write host byte order as little-endian"
#endif

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The largest datagram taken from a netlink socket. Dumps come in pieces of at most 32 KiB, one attribute holds at most
 * 64 KiB, and a link with many virtual functions carries two of those. */
#define NL_DATAGRAM_MAX (160 * 1024)

struct nl_sock;
struct nl_pool;
struct monitor;
struct exec_job;
struct datagrams;

/* Something a thread has finished and the loop shall settle. `env` is NULL when the environment is ending: free only. */
struct job {
  void (*settle)(napi_env env, struct job *job);
};

/* One environment: the main thread, or a worker thread that loaded the addon. */
struct weft {
  napi_env env;
  int refs;                      /* the environment's own, and one for each socket, monitor and thread of datagrams; loop thread only */
  int promises;                  /* unsettled ones: they keep the loop alive, monitors do not */
  bool ended;                    /* the cleanup hook ran: nothing may be started any more */
  napi_threadsafe_function loop; /* the way from our threads to the loop */
  struct nl_sock *sockets;
  struct nl_pool *pool; /* started by the first asynchronous transaction */
  struct monitor *monitors;
  struct datagrams *datagrams;
  struct exec_job *execs;
  int *netns_fds; /* opened by netnsOpen, netnsOpenPid and packetOpen, closed with the environment */
  size_t netns_count, netns_room;
  uint8_t *scratch; /* NL_DATAGRAM_MAX bytes for synchronous transactions */
};

/* addon.c */
void weft_unref(struct weft *weft);
void post_job(struct weft *weft, struct job *job);
napi_value new_promise(napi_env env, struct weft *weft, napi_deferred *deferred);
/* Settle with `value`, or with `error` where it is not NULL. */
void settle_promise(napi_env env, struct weft *weft, napi_deferred deferred, napi_value value, napi_value error);

/* value.c: arguments and results. A getter that fails has thrown EINVAL with the function's and the argument's name. */
struct call {
  napi_env env;
  const char *op;
  struct weft *weft;
  size_t argc;
  napi_value argv[8];
};
bool call_begin(napi_env env, napi_callback_info cbinfo, const char *op, struct call *call);
bool arg_absent(struct call *call, size_t i);
bool value_int(struct call *call, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out);
bool arg_int(struct call *call, size_t i, const char *name, int64_t min, int64_t max, int64_t *out);
bool arg_fd(struct call *call, size_t i, const char *name, bool own_allowed, int *out);
bool value_string(struct call *call, napi_value value, const char *name, char **out); /* free() it */
bool arg_string(struct call *call, size_t i, const char *name, char **out);
bool arg_bytes(struct call *call, size_t i, const char *name, const uint8_t **at, size_t *len);
bool arg_array(struct call *call, size_t i, const char *name, uint32_t *count);
bool arg_int_array(struct call *call, size_t i, const char *name, int64_t min, int64_t max, uint32_t **out,
                   size_t *count);
bool prop_int(struct call *call, napi_value object, const char *name, int64_t min, int64_t max, int64_t fallback,
              int64_t *out);
bool prop_bool(struct call *call, napi_value object, const char *name, bool *out);
bool prop_string(struct call *call, napi_value object, const char *name, char **out);
bool prop_optional_string(struct call *call, napi_value object, const char *name, char **out);
void *arg_external(struct call *call, size_t i, const char *name, uint32_t kind);
napi_value throw_errno(struct call *call, int err, const char *subject);
napi_value throw_invalid(struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
napi_value errno_error(napi_env env, int err, const char *op, const char *subject);
napi_value js_undefined(napi_env env);
napi_value js_int(napi_env env, int64_t n);
napi_value js_string(napi_env env, const char *text);
napi_value js_buffer(napi_env env, const void *at, size_t len);
void set_prop(napi_env env, napi_value object, const char *name, napi_value value);

/* bytes.c */
struct bytes {
  uint8_t *at;
  size_t len, room;
};
bool bytes_reserve(struct bytes *bytes, size_t more);
bool bytes_append(struct bytes *bytes, const void *at, size_t len);
void bytes_free(struct bytes *bytes);
int64_t monotonic_ms(void);
int wait_ms(int64_t deadline); /* what poll(2) takes: the time left, at least 0 */

/* thread.c */
typedef int (*place_fn)(void *arg);
int start_thread(pthread_t *thread, void *(*body)(void *), void *arg);
int enter_namespaces(int netns_fd, int mntns_fd);
/* Run fn on a thread that entered the namespaces (-1: stays in the agent's) and ends afterwards. */
int run_on_thread(int netns_fd, int mntns_fd, place_fn fn, void *arg);
/* The same, on the calling thread where no namespace is to be entered. */
int run_in(int netns_fd, int mntns_fd, place_fn fn, void *arg);

/* netlink.c: opening. All sockets are close-on-exec and bound to a port id of our own choice. */
struct nl_open {
  int protocol, rcvbuf;
  bool transact;         /* extended and capped acknowledgements, strict checking */
  bool all_nsids;        /* NETLINK_LISTEN_ALL_NSID */
  const uint32_t *groups;
  size_t group_count;
  int fd;           /* result */
  uint32_t port_id; /* result */
};
int nl_open_here(void *nl_open);

/* Sequence numbers of a batch: of its first message, of the last that asks for an answer, of the very last. */
struct nl_range {
  uint32_t first, answered, last;
};

/* netlink.c: one exchange with the kernel. */
struct nl_exchange {
  int fd, wake_fd;             /* wake_fd (or -1) interrupts when *cancelled */
  const atomic_bool *cancelled;
  const uint8_t *sent;
  size_t sent_len;
  struct nl_range range;
  int64_t deadline;
  uint8_t *scratch;
  struct bytes *reply;
  bool *dirty; /* replies of an earlier, broken-off exchange may still be queued */
};
const char *nl_check_batch(const uint8_t *at, size_t len, struct nl_range *range);
int nl_exchange(const struct nl_exchange *exchange);

/* netns.c: a descriptor that keeps a namespace alive, as a number; closed with the environment at the latest. */
napi_value tracked_fd(struct call *call, int fd);

/* Teardown, in the order in which addon.c calls them. */
void monitors_end(struct weft *weft);
void datagrams_end(struct weft *weft);
void execs_end(struct weft *weft);
void sockets_end(struct weft *weft);
void netns_fds_end(struct weft *weft);

napi_value netns_create(napi_env env, napi_callback_info cbinfo);
napi_value netns_delete(napi_env env, napi_callback_info cbinfo);
napi_value netns_open(napi_env env, napi_callback_info cbinfo);
napi_value netns_open_pid(napi_env env, napi_callback_info cbinfo);
napi_value netns_identity(napi_env env, napi_callback_info cbinfo);
napi_value close_fd(napi_env env, napi_callback_info cbinfo);
napi_value mount_shared(napi_env env, napi_callback_info cbinfo);
napi_value unmount(napi_env env, napi_callback_info cbinfo);
napi_value nl_open(napi_env env, napi_callback_info cbinfo);
napi_value nl_port_id(napi_env env, napi_callback_info cbinfo);
napi_value nl_close(napi_env env, napi_callback_info cbinfo);
napi_value nl_transact(napi_env env, napi_callback_info cbinfo);
napi_value nl_transact_sync(napi_env env, napi_callback_info cbinfo);
napi_value monitor_start(napi_env env, napi_callback_info cbinfo);
napi_value monitor_add(napi_env env, napi_callback_info cbinfo);
napi_value monitor_remove(napi_env env, napi_callback_info cbinfo);
napi_value monitor_ignore(napi_env env, napi_callback_info cbinfo);
napi_value monitor_stop(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_start(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_add(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_remove(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_counts(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_send(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_stream(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_keep(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_forget(napi_env env, napi_callback_info cbinfo);
napi_value datagrams_stop(napi_env env, napi_callback_info cbinfo);
napi_value exec_program(napi_env env, napi_callback_info cbinfo);
napi_value socket_open(napi_env env, napi_callback_info cbinfo);
napi_value packet_open(napi_env env, napi_callback_info cbinfo);
napi_value packet_send(napi_env env, napi_callback_info cbinfo);
napi_value sysctl_read(napi_env env, napi_callback_info cbinfo);
napi_value sysctl_write(napi_env env, napi_callback_info cbinfo);
napi_value xt_get_info(napi_env env, napi_callback_info cbinfo);
napi_value peer_cred(napi_env env, napi_callback_info cbinfo);
napi_value sd_notify(napi_env env, napi_callback_info cbinfo);

#endif
