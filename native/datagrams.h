/* Shared by datagrams.c (as JavaScript has them), datagrams_thread.c and answers.c. */
#ifndef WEFT_DATAGRAMS_H
#define WEFT_DATAGRAMS_H

#include "weft.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* ---- answers.c: an exact-match table of messages and their answers ---- */

/* Bytes that are a message's own: the first two are copied into the answer and are no part of the match. */
#define OWN_BYTES 2
/* Behind these, up to an entry's fold_end, letters match in either case, and the answer repeats them as they came. */
#define FOLD_START 12
#define ASKED_MAX 512
#define ANSWER_MAX 4096
#define TAGS_MAX 6
/* What an entry depends on is a number of 32 bits, its tag. A change is noted at two places that follow from the tag, and
 * voids what has both: after 10,000 changes one in 2,500 of all other entries, where with one place it would be 25. */
#define PLACES_LOG 20
#define PLACES (1u << PLACES_LOG)
#define KINDS 16

/* Equal parts of an answer that stand one after the other, and begin with the next one each time. */
struct rotation {
  uint16_t at, width, count, turn;
};

struct entry {
  struct entry *next;
  uint64_t hash, stamp;
  int64_t kept_ms, expires_ms; /* monotonic; 0: does not expire */
  struct rotation rotation;
  uint16_t asked_len, answer_len, fold_end, ttl_count;
  uint8_t kind, tag_count;
  uint32_t tags[TAGS_MAX];
  uint8_t bytes[]; /* the message that asked, folded; the answer; offsets of seconds in it, that count down */
};

/* The answers of one socket. */
struct answers {
  struct entry **buckets;
  size_t bucket_count, count, bytes, hand;
  uint64_t since; /* entries with an older stamp are void */
};

/* What all tables have in common. */
struct validity {
  uint64_t seed, stamp;
  uint64_t changed[PLACES]; /* stamp of the last change, by place; memory where there was one */
  int64_t now_ms;
};

void note_change(struct validity *validity, uint32_t tag);
uint64_t answers_hash(const struct validity *validity, const uint8_t *asked, size_t len);
void answers_prefetch(const struct answers *answers, uint64_t hash);
struct entry *answers_find(const struct answers *answers, const struct validity *validity, uint64_t hash,
                           const uint8_t *asked, size_t len);
/* Write the answer for one that asked; `out` has room for ANSWER_MAX. */
size_t answers_write(struct entry *entry, const struct validity *validity, const uint8_t *asked, uint8_t *out);
/* `entry` has its bytes, hash and terms; it takes the place of the one for the same message. */
void answers_keep(struct answers *answers, const struct validity *validity, struct entry *entry);
/* Free entries until no more than `bytes` are held. */
void answers_shrink(struct answers *answers, size_t bytes);
void answers_free(struct answers *answers);

/* ---- sockets and the thread ---- */

/* Datagrams read from a socket before the next has its turn. */
#define BURST 64

struct endpoint {
  uint32_t id;
  int fd;
  struct answers answers;
  size_t waiting; /* bytes handed to the loop, which has not taken them yet */
  bool deaf;      /* not read while too much waits */
  uint64_t hits[KINDS], stream_hits[KINDS], refused;
};

/* In front of each message on its way to the loop, and of each that leaves from there. */
struct envelope {
  uint32_t id, address; /* network order */
  uint16_t port, zero;  /* host order */
  uint32_t len;
};

struct sheaf {
  struct job job;
  struct datagrams *datagrams;
  struct bytes bytes; /* envelopes, each followed by its message */
};

struct receiver;

/* An entry on its way into the table of a socket. */
struct kept {
  struct kept *next;
  uint32_t id;
  struct entry *entry;
};

struct datagrams {
  uint32_t kind;
  atomic_int refs; /* the external's, the running thread's, and one for each sheaf on its way */
  struct weft *weft;
  struct datagrams *next;
  napi_ref callback;
  pthread_t thread;
  int epoll_fd, wake_fd;
  size_t own_max, all_max; /* bytes of one table and of all */
  atomic_bool stopped;
  /* Whoever wants the lock waits at the gate first: the thread, which would take the lock again and again, lets the loop
   * go before it. */
  pthread_mutex_t gate, lock;
  /* Under the lock: */
  struct endpoint **endpoints; /* by id, ascending */
  size_t count, room;
  uint32_t last_id;
  struct validity validity;
  size_t bytes; /* of all tables */
  struct sheaf *open; /* on its way to the loop; grows until it gets there */
  /* The loop's own: */
  bool calling;
  struct kept *kept; /* entries and answers of the callback under way, done when it returns */
  struct bytes outgoing;
  struct receiver *receiver; /* the thread's own */
};

struct endpoint *find_endpoint(const struct datagrams *datagrams, uint32_t id);
void datagrams_lock(struct datagrams *datagrams);
void datagrams_unlock(struct datagrams *datagrams);
/* Read a socket, or let its datagrams wait in it. */
void listen_to(struct datagrams *datagrams, struct endpoint *endpoint, bool deaf);
struct receiver *receiver_new(void);
/* The thread; ends after `stopped` was set and wake_fd written to. */
void *datagrams_body(void *datagrams);
void datagrams_unref(struct datagrams *datagrams);
/* Keep and send what a callback asked for. */
void datagrams_flush(struct datagrams *datagrams);
/* The first arguments of an operation: a thread that runs, and one of its sockets. False: thrown. */
bool datagrams_begin(napi_env env, napi_callback_info cbinfo, const char *op, struct call *call,
                     struct datagrams **datagrams);
bool arg_endpoint(struct call *call, const struct datagrams *datagrams, struct endpoint **endpoint);
/* A sheaf that has reached the loop. */
void datagrams_settle(napi_env env, struct job *job);
/* Send each message to where it is addressed; returns how many the kernel refused. */
size_t send_all(int fd, struct mmsghdr *messages, unsigned int count);

#endif
