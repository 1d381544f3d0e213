#include "datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What goes between the thread and the loop: messages that no table answers, and what the loop answers and keeps. */

/* ---- what the loop wants done: entries kept, answers sent ---- */

static struct endpoint *largest(const struct datagrams *datagrams) {
  struct endpoint *found = datagrams->endpoints[0];
  for (size_t i = 1; i < datagrams->count; i++) {
    if (datagrams->endpoints[i]->answers.bytes > found->answers.bytes) found = datagrams->endpoints[i];
  }
  return found;
}

static void shrink(struct datagrams *datagrams, struct endpoint *endpoint, size_t bytes) {
  datagrams->bytes -= endpoint->answers.bytes;
  answers_shrink(&endpoint->answers, bytes);
  datagrams->bytes += endpoint->answers.bytes;
}

/* Within bounds: the socket's own, and where all together hold too much, whoever holds most gives way. */
static void keep_entry(struct datagrams *datagrams, struct endpoint *endpoint, struct entry *entry) {
  datagrams->bytes -= endpoint->answers.bytes;
  answers_keep(&endpoint->answers, &datagrams->validity, entry);
  datagrams->bytes += endpoint->answers.bytes;
  if (endpoint->answers.bytes > datagrams->own_max) shrink(datagrams, endpoint, datagrams->own_max);
  if (datagrams->bytes <= datagrams->all_max) return;
  struct endpoint *most = largest(datagrams);
  size_t excess = datagrams->bytes - datagrams->all_max;
  shrink(datagrams, most, most->answers.bytes > excess ? most->answers.bytes - excess : 0);
}

static void keep_all(struct datagrams *datagrams) {
  if (!datagrams->kept) return;
  datagrams_lock(datagrams);
  for (struct kept *kept = datagrams->kept, *next; kept; kept = next) {
    next = kept->next;
    struct endpoint *endpoint = find_endpoint(datagrams, kept->id);
    if (endpoint) keep_entry(datagrams, endpoint, kept->entry);
    else free(kept->entry);
    free(kept);
  }
  datagrams->kept = NULL;
  datagrams_unlock(datagrams);
}

static void count_refused(struct datagrams *datagrams, struct endpoint *endpoint, size_t refused) {
  if (!refused) return;
  datagrams_lock(datagrams);
  endpoint->refused += refused;
  datagrams_unlock(datagrams);
}

/* Those that follow each other and leave from one socket; returns the offset behind them. */
static size_t send_some(struct datagrams *datagrams, size_t at) {
  struct sockaddr_in to[BURST];
  struct iovec parts[BURST];
  struct mmsghdr messages[BURST];
  struct envelope envelope;
  struct endpoint *endpoint = NULL;
  unsigned int count = 0;
  for (; at < datagrams->outgoing.len && count < BURST; at += sizeof envelope + envelope.len) {
    memcpy(&envelope, datagrams->outgoing.at + at, sizeof envelope);
    struct endpoint *from = find_endpoint(datagrams, envelope.id);
    if (count > 0 && from != endpoint) break;
    endpoint = from;
    if (!from) continue; /* closed meanwhile */
    to[count] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(envelope.port),
                                     .sin_addr.s_addr = envelope.address};
    parts[count] = (struct iovec){.iov_base = datagrams->outgoing.at + at + sizeof envelope, .iov_len = envelope.len};
    messages[count].msg_hdr = (struct msghdr){.msg_name = &to[count], .msg_namelen = sizeof to[count],
                                              .msg_iov = &parts[count], .msg_iovlen = 1};
    count++;
  }
  if (endpoint && count > 0) count_refused(datagrams, endpoint, send_all(endpoint->fd, messages, count));
  return at;
}

/* Entries first: who has the answer and asks again finds it kept. Sockets come and go on the loop alone. */
void datagrams_flush(struct datagrams *datagrams) {
  keep_all(datagrams);
  for (size_t at = 0; at < datagrams->outgoing.len;) at = send_some(datagrams, at);
  datagrams->outgoing.len = 0;
}

/* ---- messages for the loop ---- */

static void call_back(napi_env env, struct datagrams *datagrams, const struct bytes *bytes) {
  napi_value callback = NULL, thrown = NULL, args[1];
  if (napi_get_reference_value(env, datagrams->callback, &callback) != napi_ok || !callback) return;
  args[0] = js_buffer(env, bytes->at, bytes->len);
  datagrams->calling = true;
  napi_call_function(env, js_undefined(env), callback, 1, args, NULL);
  datagrams->calling = false;
  datagrams_flush(datagrams);
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending && napi_get_and_clear_last_exception(env, &thrown) == napi_ok) napi_fatal_exception(env, thrown);
}

/* From here on the thread begins another, and sockets of which too much waited are heard again. */
static void take_sheaf(struct datagrams *datagrams) {
  datagrams_lock(datagrams);
  datagrams->open = NULL;
  for (size_t i = 0; i < datagrams->count; i++) {
    struct endpoint *endpoint = datagrams->endpoints[i];
    endpoint->waiting = 0;
    if (endpoint->deaf) listen_to(datagrams, endpoint, false);
  }
  datagrams_unlock(datagrams);
}

void datagrams_settle(napi_env env, struct job *job) {
  struct sheaf *sheaf = (struct sheaf *)job;
  struct datagrams *datagrams = sheaf->datagrams;
  take_sheaf(datagrams);
  if (env && !atomic_load(&datagrams->stopped)) call_back(env, datagrams, &sheaf->bytes);
  bytes_free(&sheaf->bytes);
  free(sheaf);
  datagrams_unref(datagrams);
}

napi_value datagrams_send(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  int64_t id = 0, address = 0, port = 0;
  const uint8_t *message;
  size_t len;
  if (!datagrams_begin(env, cbinfo, "datagramsSend", &call, &datagrams) || !arg_int(&call, 1, "id", 1, UINT32_MAX, &id) ||
      !arg_int(&call, 2, "address", 0, UINT32_MAX, &address) || !arg_int(&call, 3, "port", 0, 65535, &port) ||
      !arg_bytes(&call, 4, "message", &message, &len)) {
    return NULL;
  }
  if (len > 65507) return throw_errno(&call, EMSGSIZE, NULL);
  struct envelope envelope = {.id = (uint32_t)id, .address = (uint32_t)address, .port = (uint16_t)port,
                              .len = (uint32_t)len};
  if (!bytes_reserve(&datagrams->outgoing, sizeof envelope + len)) return throw_errno(&call, ENOMEM, NULL);
  bytes_append(&datagrams->outgoing, &envelope, sizeof envelope);
  bytes_append(&datagrams->outgoing, message, len);
  if (!datagrams->calling) datagrams_flush(datagrams);
  return js_undefined(env);
}
