/* Shared by monitor.c (monitors as JavaScript has them) and monitor_thread.c. */
#ifndef WEFT_MONITOR_H
#define WEFT_MONITOR_H

#include "weft.h"

struct source {
  struct source *next;
  uint32_t id;
  int fd;
};

struct record {
  uint32_t id;
  int nsid;
  bool lost;
  size_t at, len;
};

struct monitor {
  uint32_t kind;
  atomic_int refs; /* the external's, the running thread's, and one for each batch on its way */
  struct weft *weft;
  struct monitor *next;
  napi_ref callback;
  pthread_t thread;
  int epoll_fd, wake_fd, rcvbuf;
  int64_t max_pending;
  atomic_llong pending;
  atomic_bool stopped, paused;
  pthread_mutex_t lock;
  struct source *sources;
  uint32_t last_id;
  uint32_t *ignored;
  size_t ignored_count;
  uint8_t *scratch;
};

struct batch {
  struct job job;
  struct monitor *monitor;
  struct bytes bytes;
  struct record *records;
  size_t count, room;
  int64_t cost;
};

/* The thread; ends after `stopped` was set and monitor_wake called. */
void *monitor_body(void *monitor);
void monitor_wake(struct monitor *monitor);
/* A batch that has reached the loop. */
void monitor_settle(napi_env env, struct job *job);

#endif
