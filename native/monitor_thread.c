#include "monitor.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * One thread that reads the notifications of any number of sockets and hands them to the loop in batches.
 *
 * Under monitor->lock: the sources and the ignored port ids. The thread waits without the lock and reads with it, so a
 * source that monitorRemove has taken out is closed at once and never read again; epoll forgets a closed descriptor by
 * itself, and an event that was already on its way finds no source of that id.
 */

/* Datagrams read from one source before the next has its turn. */
#define READS_PER_TURN 256
/* What a record costs the receiver besides its bytes, so that many small ones count against maxPendingBytes too. */
#define RECORD_COST 64

static struct record *add_record(struct batch *batch, uint32_t id, int nsid, bool lost) {
  if (batch->count == batch->room) {
    size_t room = batch->room ? batch->room * 2 : 16;
    struct record *records = realloc(batch->records, room * sizeof *records);
    if (!records) return NULL;
    batch->records = records;
    batch->room = room;
  }
  struct record *record = &batch->records[batch->count++];
  *record = (struct record){.id = id, .nsid = nsid, .lost = lost, .at = batch->bytes.len};
  batch->cost += RECORD_COST;
  return record;
}

/* Messages of one source and namespace that follow each other share a record. */
static bool add_message(struct batch *batch, uint32_t id, int nsid, const void *at, size_t len) {
  struct record *record = batch->count ? &batch->records[batch->count - 1] : NULL;
  if (!record || record->lost || record->id != id || record->nsid != nsid) record = add_record(batch, id, nsid, false);
  if (!record || !bytes_append(&batch->bytes, at, len)) return false;
  record->len += len;
  batch->cost += (int64_t)len;
  return true;
}

static bool is_ignored(const struct monitor *monitor, uint32_t port_id) {
  for (size_t i = 0; i < monitor->ignored_count; i++) {
    if (monitor->ignored[i] == port_id) return true;
  }
  return false;
}

static bool add_datagram(struct monitor *monitor, struct batch *batch, uint32_t id, int nsid, size_t len) {
  for (size_t at = 0; len - at >= NLMSG_HDRLEN;) {
    const struct nlmsghdr *header = (const struct nlmsghdr *)(monitor->scratch + at);
    size_t size = NLMSG_ALIGN((size_t)header->nlmsg_len);
    if (header->nlmsg_len < NLMSG_HDRLEN || header->nlmsg_len > len - at) return false;
    if (size > len - at) size = len - at;
    if (!is_ignored(monitor, header->nlmsg_pid) && !add_message(batch, id, nsid, header, size)) return false;
    at += size;
  }
  return true;
}

static int nsid_of(struct msghdr *msg) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
    if (c->cmsg_level != SOL_NETLINK || c->cmsg_type != NETLINK_LISTEN_ALL_NSID) continue;
    int nsid;
    memcpy(&nsid, CMSG_DATA(c), sizeof nsid);
    return nsid;
  }
  return -1;
}

/* Everything the kernel did not deliver whole counts as lost: ENOBUFS, a datagram larger than any, no memory here. */
static void read_source(struct monitor *monitor, const struct source *source, struct batch *batch) {
  bool lost = false;
  for (int i = 0; i < READS_PER_TURN && batch->cost <= monitor->max_pending; i++) {
    struct sockaddr_nl from = {0};
    struct iovec iov = {.iov_base = monitor->scratch, .iov_len = NL_DATAGRAM_MAX};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct nl_pktinfo))];
    struct msghdr msg = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1,
                         .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(source->fd, &msg, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n >= 0 && from.nl_pid != 0) continue; /* another program's, not the kernel's */
    bool whole = n >= 0 && !(msg.msg_flags & MSG_TRUNC);
    if (!whole || !add_datagram(monitor, batch, source->id, nsid_of(&msg), (size_t)n)) lost = true;
  }
  if (lost) add_record(batch, source->id, -1, true);
}

static struct source *find_source(struct monitor *monitor, uint32_t id) {
  struct source *source = monitor->sources;
  while (source && source->id != id) source = source->next;
  return source;
}

void monitor_wake(struct monitor *monitor) {
  uint64_t one = 1;
  if (write(monitor->wake_fd, &one, sizeof one) < 0) return; /* full: it will wake as well */
}

static void post_batch(struct monitor *monitor, struct batch *batch) {
  batch->job.settle = monitor_settle;
  batch->monitor = monitor;
  atomic_fetch_add(&monitor->refs, 1);
  atomic_fetch_add(&monitor->pending, batch->cost);
  post_job(monitor->weft, &batch->job);
}

static void read_ready(struct monitor *monitor, const struct epoll_event *events, int count) {
  struct batch *batch = calloc(1, sizeof *batch);
  if (!batch) return; /* the events stay; the kernel keeps them or reports their loss */
  pthread_mutex_lock(&monitor->lock);
  for (int i = 0; i < count; i++) {
    const struct source *source = events[i].data.u32 ? find_source(monitor, events[i].data.u32) : NULL;
    if (source) read_source(monitor, source, batch);
  }
  pthread_mutex_unlock(&monitor->lock);
  if (batch->count) post_batch(monitor, batch);
  else free(batch);
}

/* Back-pressure: nothing is read until the loop has caught up. What the kernel drops meanwhile it reports as ENOBUFS. */
static void wait_for_loop(struct monitor *monitor) {
  uint64_t count;
  atomic_store(&monitor->paused, true);
  while (!atomic_load(&monitor->stopped) && atomic_load(&monitor->pending) > monitor->max_pending) {
    if (read(monitor->wake_fd, &count, sizeof count) < 0 && errno != EINTR) break;
  }
  atomic_store(&monitor->paused, false);
}

void *monitor_body(void *arg) {
  struct monitor *monitor = arg;
  struct epoll_event events[32];
  while (!atomic_load(&monitor->stopped)) {
    if (atomic_load(&monitor->pending) > monitor->max_pending) wait_for_loop(monitor);
    int count = epoll_wait(monitor->epoll_fd, events, COUNT(events), -1);
    if (count > 0 && !atomic_load(&monitor->stopped)) read_ready(monitor, events, count);
  }
  return NULL;
}
