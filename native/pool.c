#include "transact.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * The threads that answer asynchronous transactions.
 *
 * A socket's requests are answered in order, one at a time, by whichever of a few threads takes the socket next; a
 * waiting request occupies no thread. Two locks: pool->lock guards the queues and flags; sock->exchange is held by
 * whoever talks on the socket (a pool thread, or the loop thread in nlTransactSync and nlClose). A pool thread takes them
 * one after the other, never nested, and never waits for the loop, so that the loop may wait for it.
 */

/* rtnetlink serialises on one kernel mutex, so more threads help only other families and waiting dumps. */
#define POOL_THREADS 4

struct pool_thread {
  pthread_t thread;
  struct weft *weft;
  int wake_fd;
};

struct nl_pool {
  pthread_mutex_t lock;
  pthread_cond_t ready;
  struct nl_sock *head, *tail;
  int started, idle, ready_count; /* idle: also those that were signalled and have not woken yet */
  bool stop;
  struct pool_thread threads[POOL_THREADS];
};

static void push_ready(struct nl_pool *pool, struct nl_sock *sock) {
  sock->next_ready = NULL;
  if (pool->tail) pool->tail->next_ready = sock;
  else pool->head = sock;
  pool->tail = sock;
  pool->ready_count++;
}

/* The next socket with something to send, or NULL at the end. Called and returns with the lock held. */
static struct nl_sock *take_ready(struct nl_pool *pool) {
  while (!pool->head && !pool->stop) {
    pool->idle++;
    pthread_cond_wait(&pool->ready, &pool->lock);
    pool->idle--;
  }
  if (pool->stop) return NULL;
  struct nl_sock *sock = pool->head;
  pool->head = sock->next_ready;
  if (!pool->head) pool->tail = NULL;
  pool->ready_count--;
  return sock;
}

/* A socket without requests may be freed any time, so it must not stay in the list. */
static void leave_ready(struct nl_pool *pool, struct nl_sock *sock) {
  struct nl_sock *previous = NULL;
  for (struct nl_sock *at = pool->head; at; previous = at, at = at->next_ready) {
    if (at != sock) continue;
    if (previous) previous->next_ready = sock->next_ready;
    else pool->head = sock->next_ready;
    if (pool->tail == sock) pool->tail = previous;
    pool->ready_count--;
    sock->scheduled = false;
    return;
  }
}

static struct nl_request *take_request(struct nl_sock *sock) {
  struct nl_request *request = sock->head; /* a socket in the ready list has one */
  sock->head = request->next;
  if (!sock->head) sock->tail = NULL;
  return request;
}

static void answer(struct nl_request *request, int wake_fd, uint8_t *scratch) {
  struct nl_sock *sock = request->sock;
  pthread_mutex_lock(&sock->exchange);
  struct nl_exchange exchange = {
      .fd = sock->fd,
      .wake_fd = wake_fd,
      .cancelled = &sock->closed,
      .sent = request->sent,
      .sent_len = request->sent_len,
      .range = request->range,
      .deadline = monotonic_ms() + request->timeout_ms,
      .scratch = scratch,
      .reply = &request->reply,
      .dirty = &sock->dirty,
  };
  request->err = scratch ? nl_exchange(&exchange) : ENOMEM;
  pthread_mutex_unlock(&sock->exchange);
}

static void *pool_body(void *arg) {
  struct pool_thread *self = arg;
  struct nl_pool *pool = self->weft->pool;
  uint8_t *scratch = malloc(NL_DATAGRAM_MAX);
  struct nl_sock *sock;
  pthread_mutex_lock(&pool->lock);
  while ((sock = take_ready(pool))) {
    struct nl_request *request = take_request(sock);
    sock->busy_wake_fd = self->wake_fd;
    pthread_mutex_unlock(&pool->lock);
    answer(request, self->wake_fd, scratch);
    pthread_mutex_lock(&pool->lock);
    sock->busy_wake_fd = -1;
    if (sock->head) push_ready(pool, sock);
    else sock->scheduled = false;
    post_job(self->weft, &request->job); /* the loop may now free the request, and the socket with it */
  }
  pthread_mutex_unlock(&pool->lock);
  free(scratch);
  return NULL;
}

static int add_thread(struct weft *weft, struct nl_pool *pool) {
  struct pool_thread *thread = &pool->threads[pool->started];
  *thread = (struct pool_thread){.weft = weft, .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (thread->wake_fd < 0) return errno;
  int err = start_thread(&thread->thread, pool_body, thread);
  if (err) close(thread->wake_fd);
  else pool->started++;
  return err;
}

static int start_pool(struct weft *weft) {
  if (weft->pool) return 0;
  struct nl_pool *pool = calloc(1, sizeof *pool);
  if (!pool) return ENOMEM;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->ready, NULL);
  weft->pool = pool;
  return 0;
}

int pool_submit(struct weft *weft, struct nl_request *request) {
  int err = start_pool(weft);
  if (err) return err;
  struct nl_pool *pool = weft->pool;
  struct nl_sock *sock = request->sock;
  pthread_mutex_lock(&pool->lock);
  bool more = !sock->scheduled && pool->ready_count >= pool->idle && pool->started < POOL_THREADS;
  if (more) err = add_thread(weft, pool);
  if (err && pool->started > 0) err = 0; /* fewer threads than wished for */
  if (!err) {
    if (sock->tail) sock->tail->next = request;
    else sock->head = request;
    sock->tail = request;
    if (!sock->scheduled) {
      sock->scheduled = true;
      push_ready(pool, sock);
      pthread_cond_signal(&pool->ready);
    }
  }
  pthread_mutex_unlock(&pool->lock);
  return err;
}

struct nl_request *pool_withdraw(struct nl_pool *pool, struct nl_sock *sock) {
  uint64_t one = 1;
  pthread_mutex_lock(&pool->lock);
  struct nl_request *waiting = sock->head;
  sock->head = sock->tail = NULL;
  leave_ready(pool, sock);
  /* An eventfd that is full already wakes as well. */
  if (sock->busy_wake_fd >= 0 && write(sock->busy_wake_fd, &one, sizeof one) < 0) one = 0;
  pthread_mutex_unlock(&pool->lock);
  return waiting;
}

void pool_end(struct weft *weft) {
  struct nl_pool *pool = weft->pool;
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  pool->stop = true;
  pthread_cond_broadcast(&pool->ready);
  pthread_mutex_unlock(&pool->lock);
  for (int i = 0; i < pool->started; i++) {
    pthread_join(pool->threads[i].thread, NULL);
    close(pool->threads[i].wake_fd);
  }
  pthread_mutex_destroy(&pool->lock);
  pthread_cond_destroy(&pool->ready);
  free(pool);
  weft->pool = NULL;
}
