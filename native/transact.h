/* Shared by transact.c (sockets and requests as JavaScript has them) and pool.c (the threads that answer them). */
#ifndef WEFT_TRANSACT_H
#define WEFT_TRANSACT_H

#include "weft.h"

struct nl_request {
  struct job job;
  struct nl_request *next;
  struct nl_sock *sock;
  napi_deferred deferred;
  uint8_t *sent;
  size_t sent_len;
  struct nl_range range;
  int timeout_ms;
  int err;
  struct bytes reply;
};

struct nl_sock {
  uint32_t kind;
  int refs; /* the external's and one for each unsettled request; loop thread only */
  struct weft *weft;
  struct nl_sock *next_of_weft;
  int fd; /* -1 when closed; changes on the loop thread, under `exchange` */
  uint32_t port_id;
  atomic_bool closed;
  bool dirty;
  pthread_mutex_t exchange;
  /* under pool->lock */
  struct nl_request *head, *tail;
  struct nl_sock *next_ready;
  bool scheduled; /* in the ready list, or with a thread */
  int busy_wake_fd; /* of the thread that has it, else -1 */
};

/* The request is the pool's once this returned 0. */
int pool_submit(struct weft *weft, struct nl_request *request);
/* After `closed` was set: wake the thread that has the socket, and take back the requests that none has begun. */
struct nl_request *pool_withdraw(struct nl_pool *pool, struct nl_sock *sock);
/* Join the threads; they must have nothing left to do. */
void pool_end(struct weft *weft);

#endif
