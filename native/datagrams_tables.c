#include "datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The tables as the loop uses them: answers out of them for streams, entries kept and made void. */

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
  if (!datagrams_begin(env, cbinfo, "datagramsStream", &call, &datagrams) || !arg_endpoint(&call, datagrams, &endpoint) ||
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
  if (!datagrams_begin(env, cbinfo, "datagramsKeep", &call, &datagrams) || !arg_int(&call, 1, "id", 1, UINT32_MAX, &id) ||
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
  if (!datagrams->calling) datagrams_flush(datagrams);
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
  if (!datagrams_begin(env, cbinfo, "datagramsForget", &call, &datagrams)) return NULL;
  if (!arg_absent(&call, 1) && !arg_endpoint(&call, datagrams, &only)) return NULL;
  if (arg_absent(&call, 2)) {
    forget_whole(datagrams, only);
  } else {
    if (!arg_bytes(&call, 2, "tags", &at, &len)) return NULL;
    forget_tags(datagrams, at, len / sizeof(uint32_t));
  }
  return js_int(env, (int64_t)datagrams->validity.stamp);
}
