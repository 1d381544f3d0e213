#include "datagrams.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/*
 * A chained hash table of messages, matched byte for byte. It knows of DNS where the name of a question stands, no more:
 * what may be kept, for how long, and what makes it void is said by whoever keeps it.
 *
 * Who asks chooses what is kept. The hash is keyed, a chain is never longer than CHAIN_MAX (its oldest entry goes), and
 * the tables are bounded in bytes, so that nobody can make a look-up dear.
 */

#define CHAIN_MAX 8
#define BUCKETS_LEAST 64
/* Of any entry besides its bytes, with the allocator's own. */
#define ENTRY_COST (sizeof(struct entry) + 16)
/* OR'ed to every byte before hashing, so that letters of either case hash alike; the match is exact. */
#define FOLD_ALL UINT64_C(0x2020202020202020)
#define ODD UINT64_C(0x9e3779b97f4a7c15)

static uint64_t mix(uint64_t a, uint64_t b) {
  unsigned __int128 product = (unsigned __int128)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t answers_hash(const struct validity *validity, const uint8_t *asked, size_t len) {
  uint64_t hash = validity->seed ^ len, word;
  size_t at = OWN_BYTES;
  for (; at + sizeof word <= len; at += sizeof word) {
    memcpy(&word, asked + at, sizeof word);
    hash = mix(hash ^ (word | FOLD_ALL), ODD);
  }
  word = 0;
  if (at < len) memcpy(&word, asked + at, len - at);
  return mix(hash ^ (word | FOLD_ALL), ODD ^ validity->seed);
}

static uint8_t folded(uint8_t byte) {
  return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

static uint32_t first_place(uint32_t tag) {
  return tag & (PLACES - 1);
}

/* Knuth's multiplicative hash (The Art of Computer Programming, 6.4): its upper bits. */
static uint32_t second_place(uint32_t tag) {
  return (tag * UINT32_C(2654435761)) >> (32 - PLACES_LOG);
}

void note_change(struct validity *validity, uint32_t tag) {
  validity->changed[first_place(tag)] = validity->stamp;
  validity->changed[second_place(tag)] = validity->stamp;
}

static bool is_changed(const struct validity *validity, uint32_t tag, uint64_t since) {
  return validity->changed[first_place(tag)] > since && validity->changed[second_place(tag)] > since;
}

static bool is_valid(const struct entry *entry, const struct answers *answers, const struct validity *validity) {
  if (entry->stamp < answers->since) return false;
  if (entry->expires_ms && entry->expires_ms <= validity->now_ms) return false;
  for (size_t i = 0; i < entry->tag_count; i++) {
    if (is_changed(validity, entry->tags[i], entry->stamp)) return false;
  }
  return true;
}

/* `asked` as it came against what is kept, which is folded. */
static bool is_same(const struct entry *entry, uint64_t hash, const uint8_t *asked, size_t len) {
  const uint8_t *kept = entry->bytes;
  size_t fold_end = entry->fold_end;
  if (entry->hash != hash || entry->asked_len != len) return false;
  if (memcmp(kept + OWN_BYTES, asked + OWN_BYTES, FOLD_START - OWN_BYTES) != 0) return false;
  for (size_t i = FOLD_START; i < fold_end; i++) {
    if (kept[i] != folded(asked[i])) return false;
  }
  return memcmp(kept + fold_end, asked + fold_end, len - fold_end) == 0;
}

static struct entry **bucket_of(const struct answers *answers, uint64_t hash) {
  return &answers->buckets[hash & (answers->bucket_count - 1)];
}

void answers_prefetch(const struct answers *answers, uint64_t hash) {
  if (answers->bucket_count) __builtin_prefetch(bucket_of(answers, hash));
}

struct entry *answers_find(const struct answers *answers, const struct validity *validity, uint64_t hash,
                           const uint8_t *asked, size_t len) {
  if (!answers->bucket_count || len < FOLD_START) return NULL;
  for (struct entry *entry = *bucket_of(answers, hash); entry; entry = entry->next) {
    if (is_same(entry, hash, asked, len)) return is_valid(entry, answers, validity) ? entry : NULL;
  }
  return NULL;
}

/* Seconds since the entry was kept, taken off those that it says. */
static void count_down(const struct entry *entry, int64_t now_ms, uint8_t *out) {
  uint32_t passed = (uint32_t)((now_ms - entry->kept_ms) / 1000);
  const uint8_t *offsets = entry->bytes + entry->asked_len + entry->answer_len;
  for (size_t i = 0; i < entry->ttl_count; i++) {
    uint16_t at;
    uint32_t seconds;
    memcpy(&at, offsets + i * sizeof at, sizeof at);
    memcpy(&seconds, out + at, sizeof seconds);
    seconds = ntohl(seconds);
    seconds = htonl(seconds > passed ? seconds - passed : 0);
    memcpy(out + at, &seconds, sizeof seconds);
  }
}

size_t answers_write(struct entry *entry, const struct validity *validity, const uint8_t *asked, uint8_t *out) {
  struct rotation *rotation = &entry->rotation;
  const uint8_t *answer = entry->bytes + entry->asked_len;
  memcpy(out, answer, entry->answer_len);
  memcpy(out, asked, OWN_BYTES);
  memcpy(out + FOLD_START, asked + FOLD_START, (size_t)entry->fold_end - FOLD_START);
  if (rotation->count > 1) {
    rotation->turn = (uint16_t)((rotation->turn + 1) % rotation->count);
    size_t all = (size_t)rotation->count * rotation->width, first = (size_t)rotation->turn * rotation->width;
    memcpy(out + rotation->at, answer + rotation->at + first, all - first);
    memcpy(out + rotation->at + all - first, answer + rotation->at, first);
  }
  if (entry->ttl_count) count_down(entry, validity->now_ms, out);
  return entry->answer_len;
}

static size_t cost_of(const struct entry *entry) {
  return ENTRY_COST + entry->asked_len + entry->answer_len + entry->ttl_count * sizeof(uint16_t);
}

static void free_at(struct answers *answers, struct entry **at) {
  struct entry *entry = *at;
  *at = entry->next;
  answers->count--;
  answers->bytes -= cost_of(entry);
  free(entry);
}

/* Twice as many buckets, where there is memory for them. */
static void grow(struct answers *answers) {
  size_t count = answers->bucket_count ? answers->bucket_count * 2 : BUCKETS_LEAST;
  struct entry **buckets = calloc(count, sizeof *buckets);
  if (!buckets) return;
  for (size_t i = 0; i < answers->bucket_count; i++) {
    for (struct entry *entry = answers->buckets[i], *next; entry; entry = next) {
      next = entry->next;
      struct entry **at = &buckets[entry->hash & (count - 1)];
      entry->next = *at;
      *at = entry;
    }
  }
  free(answers->buckets);
  answers->bytes += (count - answers->bucket_count) * sizeof *buckets;
  answers->buckets = buckets;
  answers->bucket_count = count;
  answers->hand = 0;
}

/* Of its chain go the one of the same message, those that are void, and what would make it longer than CHAIN_MAX. */
static void make_room(struct answers *answers, const struct validity *validity, const struct entry *entry) {
  struct entry **at = bucket_of(answers, entry->hash);
  for (size_t length = 1; *at;) {
    bool same = is_same(*at, entry->hash, entry->bytes, entry->asked_len);
    if (same || length >= CHAIN_MAX || !is_valid(*at, answers, validity)) {
      free_at(answers, at);
    } else {
      at = &(*at)->next;
      length++;
    }
  }
}

void answers_keep(struct answers *answers, const struct validity *validity, struct entry *entry) {
  if (answers->count >= answers->bucket_count) grow(answers);
  if (!answers->bucket_count || !is_valid(entry, answers, validity)) {
    free(entry);
    return;
  }
  make_room(answers, validity, entry);
  struct entry **at = bucket_of(answers, entry->hash);
  entry->next = *at;
  *at = entry;
  answers->count++;
  answers->bytes += cost_of(entry);
}

void answers_shrink(struct answers *answers, size_t bytes) {
  while (answers->bytes > bytes && answers->count > 0) {
    struct entry **at = &answers->buckets[answers->hand];
    while (*at) free_at(answers, at);
    answers->hand = (answers->hand + 1) & (answers->bucket_count - 1);
  }
}

void answers_free(struct answers *answers) {
  answers_shrink(answers, 0);
  free(answers->buckets);
  *answers = (struct answers){0};
}
