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

static void unref_datagrams(struct datagrams *datagrams) {
  if (atomic_fetch_sub(&datagrams->refs, 1) > 1) return;
  pthread_mutex_destroy(&datagrams->gate);
  pthread_mutex_destroy(&datagrams->lock);
  weft_unref(datagrams->weft);
  bytes_free(&datagrams->outgoing);
  free(datagrams->endpoints);
  free(datagrams->receiver);
  free(datagrams);
}

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
static void flush(struct datagrams *datagrams) {
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
  flush(datagrams);
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
  unref_datagrams(datagrams);
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
  flush(datagrams);
  while (datagrams->count > 0) free_endpoint(datagrams->endpoints[--datagrams->count]);
  close(datagrams->epoll_fd);
  close(datagrams->wake_fd);
  napi_delete_reference(datagrams->weft->env, datagrams->callback);
  unref_datagrams(datagrams);
}

void datagrams_end(struct weft *weft) {
  while (weft->datagrams) end_datagrams(weft->datagrams);
}

static void on_datagrams_collected(napi_env env, void *at, void *hint) {
  (void)env;
  (void)hint;
  unref_datagrams(at); /* without datagramsStop the thread has its own reference and goes on */
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

static bool begin(napi_env env, napi_callback_info cbinfo, const char *op, struct call *call,
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
  if (!begin(env, cbinfo, "datagramsAdd", &call, &datagrams) || !arg_fd(&call, 1, "fd", false, &fd)) return NULL;
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

static bool arg_endpoint(struct call *call, const struct datagrams *datagrams, struct endpoint **endpoint) {
  int64_t id = 0;
  if (!arg_int(call, 1, "id", 1, UINT32_MAX, &id)) return false;
  *endpoint = find_endpoint(datagrams, (uint32_t)id);
  return *endpoint ? true : (throw_errno(call, ENOENT, "id"), false);
}

napi_value datagrams_remove(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  struct endpoint *endpoint;
  if (!begin(env, cbinfo, "datagramsRemove", &call, &datagrams) || !arg_endpoint(&call, datagrams, &endpoint)) {
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
  if (!begin(env, cbinfo, "datagramsCounts", &call, &datagrams) || !arg_endpoint(&call, datagrams, &endpoint)) {
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

napi_value datagrams_send(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  int64_t id = 0, address = 0, port = 0;
  const uint8_t *message;
  size_t len;
  if (!begin(env, cbinfo, "datagramsSend", &call, &datagrams) || !arg_int(&call, 1, "id", 1, UINT32_MAX, &id) ||
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
  if (!datagrams->calling) flush(datagrams);
  return js_undefined(env);
}

/* ---- the same messages in a stream, each behind its length in two bytes ---- */

/* Answers made at one time; what is left is answered the next time. */
#define STREAM_MAX (256 * 1024)

/* Appends the answer to the message at the start; returns the bytes of the message, 0 where it is not whole or unknown. */
static size_t answer_framed(struct datagrams *datagrams, struct endpoint *endpoint, const uint8_t *at, size_t left,
                            struct bytes *out) {
  if (left < 2) return 0;
  size_t len = (size_t)at[0] << 8 | at[1];
  if (left - 2 < len || !bytes_reserve(out, 2 + ANSWER_MAX)) return 0;
  const struct validity *validity = &datagrams->validity;
  uint64_t hash = answers_hash(validity, at + 2, len);
  struct entry *entry = answers_find(&endpoint->answers, validity, hash, at + 2, len);
  if (!entry) return 0;
  uint8_t *to = out->at + out->len;
  size_t size = answers_write(entry, validity, at + 2, to + 2);
  to[0] = (uint8_t)(size >> 8);
  to[1] = (uint8_t)size;
  out->len += 2 + size;
  endpoint->stream_hits[entry->kind]++;
  return 2 + len;
}

napi_value datagrams_stream(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  struct endpoint *endpoint;
  const uint8_t *stream;
  size_t len, taken = 0;
  struct bytes out = {0};
  if (!begin(env, cbinfo, "datagramsStream", &call, &datagrams) || !arg_endpoint(&call, datagrams, &endpoint) ||
      !arg_bytes(&call, 2, "stream", &stream, &len)) {
    return NULL;
  }
  datagrams_lock(datagrams);
  datagrams->validity.now_ms = monotonic_ms();
  while (out.len < STREAM_MAX) {
    size_t more = answer_framed(datagrams, endpoint, stream + taken, len - taken, &out);
    if (!more) break;
    taken += more;
  }
  datagrams_unlock(datagrams);
  napi_value result = NULL;
  napi_create_object(env, &result);
  set_prop(env, result, "taken", js_int(env, (int64_t)taken));
  set_prop(env, result, "answers", js_buffer(env, out.at, out.len));
  bytes_free(&out);
  return result;
}

/* ---- entries ---- */

/* Numbers of datagramsKeep, in the order in which they come; tags and offsets follow. */
enum { TERM_KIND, TERM_FOLD_END, TERM_EXPIRES_MS, TERM_AT, TERM_WIDTH, TERM_COUNT, TERM_TAGS, TERMS };

static bool in_bounds(const int32_t *terms, size_t count, size_t asked_len, size_t answer_len) {
  if (asked_len < FOLD_START || asked_len > ASKED_MAX || answer_len < FOLD_START || answer_len > ANSWER_MAX) return false;
  for (size_t i = 0; i < TERMS; i++) {
    if (terms[i] < 0) return false;
  }
  size_t fold_end = (size_t)terms[TERM_FOLD_END], tags = (size_t)terms[TERM_TAGS];
  size_t at = (size_t)terms[TERM_AT], width = (size_t)terms[TERM_WIDTH], parts = (size_t)terms[TERM_COUNT];
  if (terms[TERM_KIND] >= KINDS || tags > TAGS_MAX || count < TERMS + tags) return false;
  if (fold_end < FOLD_START || fold_end > asked_len || fold_end > answer_len) return false;
  if (at > answer_len || width > answer_len || parts > answer_len || at + width * parts > answer_len) return false;
  for (size_t i = TERMS + tags; i < count; i++) {
    if (terms[i] < 0 || (size_t)terms[i] + 4 > answer_len) return false;
  }
  return true;
}

static struct entry *new_entry(const int32_t *terms, size_t count, const uint8_t *asked, size_t asked_len,
                               const uint8_t *answer, size_t answer_len) {
  size_t tags = (size_t)terms[TERM_TAGS], ttls = count - TERMS - tags;
  struct entry *entry = malloc(sizeof *entry + asked_len + answer_len + ttls * sizeof(uint16_t));
  if (!entry) return NULL;
  *entry = (struct entry){
      .rotation = {.at = (uint16_t)terms[TERM_AT], .width = (uint16_t)terms[TERM_WIDTH],
                   .count = (uint16_t)terms[TERM_COUNT]},
      .kept_ms = monotonic_ms(),
      .asked_len = (uint16_t)asked_len,
      .answer_len = (uint16_t)answer_len,
      .fold_end = (uint16_t)terms[TERM_FOLD_END],
      .ttl_count = (uint16_t)ttls,
      .kind = (uint8_t)terms[TERM_KIND],
      .tag_count = (uint8_t)tags,
  };
  entry->expires_ms = terms[TERM_EXPIRES_MS] ? entry->kept_ms + terms[TERM_EXPIRES_MS] : 0;
  for (size_t i = 0; i < tags; i++) entry->tags[i] = (uint32_t)terms[TERMS + i];
  memcpy(entry->bytes, asked, asked_len);
  memcpy(entry->bytes + asked_len, answer, answer_len);
  for (size_t i = FOLD_START; i < entry->fold_end; i++) {
    if (asked[i] >= 'A' && asked[i] <= 'Z') entry->bytes[i] |= 0x20;
  }
  for (size_t i = 0; i < ttls; i++) {
    uint16_t at = (uint16_t)terms[TERMS + tags + i];
    memcpy(entry->bytes + asked_len + answer_len + i * sizeof at, &at, sizeof at);
  }
  return entry;
}

napi_value datagrams_keep(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  int64_t id = 0, stamp = 0;
  const uint8_t *asked, *answer, *at;
  size_t asked_len, answer_len, len;
  if (!begin(env, cbinfo, "datagramsKeep", &call, &datagrams) || !arg_int(&call, 1, "id", 1, UINT32_MAX, &id) ||
      !arg_int(&call, 2, "stamp", 0, INT64_C(1) << 53, &stamp) || !arg_bytes(&call, 3, "asked", &asked, &asked_len) ||
      !arg_bytes(&call, 4, "answer", &answer, &answer_len) || !arg_bytes(&call, 5, "terms", &at, &len)) {
    return NULL;
  }
  size_t count = len / sizeof(int32_t);
  int32_t terms[TERMS + TAGS_MAX + ANSWER_MAX / 10];
  if (count < TERMS || count > COUNT(terms)) return throw_invalid(&call, "terms must be %d numbers or more", TERMS);
  memcpy(terms, at, count * sizeof *terms);
  if (!in_bounds(terms, count, asked_len, answer_len)) return throw_invalid(&call, "the terms do not fit the messages");
  struct kept *kept = malloc(sizeof *kept);
  struct entry *entry = kept ? new_entry(terms, count, asked, asked_len, answer, answer_len) : NULL;
  if (!entry) return free(kept), throw_errno(&call, ENOMEM, NULL);
  entry->stamp = (uint64_t)stamp;
  entry->hash = answers_hash(&datagrams->validity, asked, asked_len);
  *kept = (struct kept){.next = datagrams->kept, .id = (uint32_t)id, .entry = entry};
  datagrams->kept = kept;
  if (!datagrams->calling) flush(datagrams);
  return js_undefined(env);
}

/* Takes the tables out under the lock, for freeing 100,000 entries takes as long as 3,000 answers. */
static void forget_whole(struct datagrams *datagrams, const struct endpoint *only) {
  struct answers *gone = calloc(datagrams->count ? datagrams->count : 1, sizeof *gone);
  size_t count = 0;
  datagrams_lock(datagrams);
  datagrams->validity.stamp++;
  for (size_t i = 0; i < datagrams->count; i++) {
    struct endpoint *endpoint = datagrams->endpoints[i];
    if (only && endpoint != only) continue;
    if (gone) {
      datagrams->bytes -= endpoint->answers.bytes;
      gone[count++] = endpoint->answers;
      endpoint->answers = (struct answers){0};
    }
    endpoint->answers.since = datagrams->validity.stamp;
  }
  datagrams_unlock(datagrams);
  while (count > 0) answers_free(&gone[--count]);
  free(gone);
}

static void forget_tags(struct datagrams *datagrams, const uint8_t *at, size_t count) {
  datagrams_lock(datagrams);
  datagrams->validity.stamp++;
  for (size_t i = 0; i < count; i++) {
    uint32_t tag;
    memcpy(&tag, at + i * sizeof tag, sizeof tag);
    note_change(&datagrams->validity, tag);
  }
  datagrams_unlock(datagrams);
}

napi_value datagrams_forget(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct datagrams *datagrams;
  struct endpoint *only = NULL;
  const uint8_t *at;
  size_t len;
  if (!begin(env, cbinfo, "datagramsForget", &call, &datagrams)) return NULL;
  if (!arg_absent(&call, 1) && !arg_endpoint(&call, datagrams, &only)) return NULL;
  if (arg_absent(&call, 2)) {
    forget_whole(datagrams, only);
  } else {
    if (!arg_bytes(&call, 2, "tags", &at, &len)) return NULL;
    forget_tags(datagrams, at, len / sizeof(uint32_t));
  }
  return js_int(env, (int64_t)datagrams->validity.stamp);
}
