#include "transact.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NL_SOCK_KIND 0x77656e6cu /* "wenl" */

/* ---- sockets, on the loop ---- */

/* Ends what is in flight on it, then closes it: afterwards the descriptor holds no namespace alive. */
static void end_sock(struct nl_sock *sock) {
  atomic_store(&sock->closed, true);
  struct nl_request *waiting = sock->weft->pool ? pool_withdraw(sock->weft->pool, sock) : NULL;
  pthread_mutex_lock(&sock->exchange);
  if (sock->fd >= 0) close(sock->fd);
  sock->fd = -1;
  pthread_mutex_unlock(&sock->exchange);
  while (waiting) {
    struct nl_request *next = waiting->next;
    waiting->err = ECANCELED;
    post_job(sock->weft, &waiting->job);
    waiting = next;
  }
}

static void unref_sock(struct nl_sock *sock) {
  if (--sock->refs > 0) return;
  if (sock->fd >= 0) end_sock(sock);
  for (struct nl_sock **at = &sock->weft->sockets; *at; at = &(*at)->next_of_weft) {
    if (*at != sock) continue;
    *at = sock->next_of_weft;
    break;
  }
  pthread_mutex_destroy(&sock->exchange);
  weft_unref(sock->weft);
  free(sock);
}

static void on_sock_collected(napi_env env, void *at, void *hint) {
  (void)env;
  (void)hint;
  unref_sock(at);
}

void sockets_end(struct weft *weft) {
  for (struct nl_sock *sock = weft->sockets; sock; sock = sock->next_of_weft) end_sock(sock);
  pool_end(weft);
}

static napi_value new_sock(struct call *call, const struct nl_open *opened) {
  struct nl_sock *sock = calloc(1, sizeof *sock);
  napi_value external = NULL;
  if (sock && napi_create_external(call->env, sock, on_sock_collected, NULL, &external) == napi_ok) {
    *sock = (struct nl_sock){.kind = NL_SOCK_KIND, .refs = 1, .weft = call->weft, .next_of_weft = call->weft->sockets,
                             .fd = opened->fd, .port_id = opened->port_id, .busy_wake_fd = -1};
    pthread_mutex_init(&sock->exchange, NULL);
    call->weft->sockets = sock;
    call->weft->refs++;
    return external;
  }
  free(sock);
  close(opened->fd);
  return throw_errno(call, ENOMEM, NULL);
}

napi_value nl_open(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  int netns_fd = -1;
  int64_t protocol = 0, rcvbuf = 0;
  char subject[48];
  if (!call_begin(env, cbinfo, "nlOpen", &call) || !arg_fd(&call, 0, "netnsFd", true, &netns_fd) ||
      !arg_int(&call, 1, "protocol", 0, 31, &protocol) || !arg_int(&call, 2, "rcvbufBytes", 1, INT_MAX / 2, &rcvbuf)) {
    return NULL;
  }
  struct nl_open want = {.protocol = (int)protocol, .rcvbuf = (int)rcvbuf, .transact = true};
  int err = run_in(netns_fd, -1, nl_open_here, &want);
  snprintf(subject, sizeof subject, "protocol %d", want.protocol);
  return err ? throw_errno(&call, err, subject) : new_sock(&call, &want);
}

static bool sock_begin(napi_env env, napi_callback_info cbinfo, const char *op, struct call *call,
                       struct nl_sock **sock) {
  return call_begin(env, cbinfo, op, call) && (*sock = arg_external(call, 0, "netlink socket", NL_SOCK_KIND));
}

napi_value nl_port_id(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct nl_sock *sock;
  return sock_begin(env, cbinfo, "nlPortId", &call, &sock) ? js_int(env, sock->port_id) : NULL;
}

napi_value nl_close(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct nl_sock *sock;
  if (!sock_begin(env, cbinfo, "nlClose", &call, &sock)) return NULL;
  if (sock->fd >= 0) end_sock(sock);
  return js_undefined(env);
}

/* ---- transactions, on the loop ---- */

struct batch {
  const uint8_t *at;
  size_t len;
  struct nl_range range;
  int64_t timeout_ms;
};

static bool batch_begin(struct call *call, struct nl_sock *sock, struct batch *batch) {
  if (!arg_bytes(call, 1, "batch", &batch->at, &batch->len) ||
      !arg_int(call, 2, "timeoutMs", 1, INT_MAX, &batch->timeout_ms)) {
    return false;
  }
  if (sock->fd < 0) return throw_errno(call, EBADF, "closed socket"), false;
  const char *wrong = nl_check_batch(batch->at, batch->len, &batch->range);
  return wrong ? (throw_invalid(call, "%s", wrong), false) : true;
}

static void free_request(struct nl_request *request) {
  free(request->sent);
  bytes_free(&request->reply);
  unref_sock(request->sock);
  free(request);
}

static void settle_request(napi_env env, struct job *job) {
  struct nl_request *request = (struct nl_request *)job;
  if (env) {
    struct weft *weft = request->sock->weft;
    napi_value error = request->err ? errno_error(env, request->err, "nlTransact", NULL) : NULL;
    napi_value reply = error ? NULL : js_buffer(env, request->reply.at, request->reply.len);
    settle_promise(env, weft, request->deferred, reply, error);
  }
  free_request(request);
}

napi_value nl_transact(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct nl_sock *sock;
  struct batch batch;
  if (!sock_begin(env, cbinfo, "nlTransact", &call, &sock) || !batch_begin(&call, sock, &batch)) return NULL;
  struct nl_request *request = calloc(1, sizeof *request);
  uint8_t *sent = malloc(batch.len);
  if (!request || !sent) {
    free(request);
    free(sent);
    return throw_errno(&call, ENOMEM, NULL);
  }
  memcpy(sent, batch.at, batch.len); /* the caller may write into its buffer again */
  *request = (struct nl_request){.job.settle = settle_request, .sock = sock, .sent = sent, .sent_len = batch.len,
                                 .range = batch.range, .timeout_ms = (int)batch.timeout_ms};
  sock->refs++;
  napi_value promise = new_promise(env, call.weft, &request->deferred);
  int err = promise ? pool_submit(call.weft, request) : ENOMEM;
  if (err) {
    request->err = err;
    if (promise) settle_request(env, &request->job);
    else free_request(request);
  }
  return promise;
}

static int lock_until(pthread_mutex_t *lock, int64_t deadline) {
  struct timespec until = {.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000};
  return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until);
}

napi_value nl_transact_sync(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct nl_sock *sock;
  struct batch batch;
  struct bytes reply = {0};
  if (!sock_begin(env, cbinfo, "nlTransactSync", &call, &sock) || !batch_begin(&call, sock, &batch)) return NULL;
  if (!call.weft->scratch && !(call.weft->scratch = malloc(NL_DATAGRAM_MAX))) return throw_errno(&call, ENOMEM, NULL);
  int64_t deadline = monotonic_ms() + batch.timeout_ms;
  int err = lock_until(&sock->exchange, deadline);
  if (!err) {
    struct nl_exchange exchange = {
        .fd = sock->fd,
        .wake_fd = -1,
        .cancelled = &sock->closed,
        .sent = batch.at,
        .sent_len = batch.len,
        .range = batch.range,
        .deadline = deadline,
        .scratch = call.weft->scratch,
        .reply = &reply,
        .dirty = &sock->dirty,
    };
    err = nl_exchange(&exchange);
    pthread_mutex_unlock(&sock->exchange);
  }
  napi_value result = err ? throw_errno(&call, err, NULL) : js_buffer(env, reply.at, reply.len);
  bytes_free(&reply);
  return result;
}
