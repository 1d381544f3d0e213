#include "datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * One thread that reads the datagrams of any number of sockets. What the table of a socket answers is answered here; the
 * rest goes to the loop, all that came before the loop took it in one call.
 *
 * A socket's turn (read, look up, send: 64 datagrams, about 0.3 ms) is under the lock as a whole. Once the loop has held
 * it to make entries void, no answer made from them is sent any more.
 */

/* Bytes of one socket that may wait for the loop; beyond, they wait in the socket, whose buffer bounds them. */
#define WAITING_MAX (256 * 1024)
#define DATAGRAM_MAX 65536
#define NICE (-10)
/* Whole pages apart, all messages would begin in the same lines of the processor's cache. */
#define STRIDE (DATAGRAM_MAX + 192)

struct receiver {
  struct sockaddr_in from[BURST];
  struct iovec in[BURST], out[BURST];
  struct mmsghdr received[BURST], sent[BURST];
  uint64_t hashes[BURST];
  uint8_t answers[BURST][ANSWER_MAX + 192];
  uint8_t messages[BURST][STRIDE]; /* 4 MiB of addresses; pages are there once a datagram was as long */
};

struct receiver *receiver_new(void) {
  struct receiver *receiver = calloc(1, sizeof *receiver);
  for (size_t i = 0; receiver && i < BURST; i++) {
    receiver->in[i] = (struct iovec){.iov_base = receiver->messages[i], .iov_len = DATAGRAM_MAX};
    receiver->received[i].msg_hdr = (struct msghdr){.msg_name = &receiver->from[i],
                                                    .msg_namelen = sizeof receiver->from[i],
                                                    .msg_iov = &receiver->in[i],
                                                    .msg_iovlen = 1};
  }
  return receiver;
}

void datagrams_lock(struct datagrams *datagrams) {
  pthread_mutex_lock(&datagrams->gate);
  pthread_mutex_lock(&datagrams->lock);
  pthread_mutex_unlock(&datagrams->gate);
}

void datagrams_unlock(struct datagrams *datagrams) {
  pthread_mutex_unlock(&datagrams->lock);
}

struct endpoint *find_endpoint(const struct datagrams *datagrams, uint32_t id) {
  size_t low = 0, high = datagrams->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (datagrams->endpoints[middle]->id < id) low = middle + 1;
    else high = middle;
  }
  return low < datagrams->count && datagrams->endpoints[low]->id == id ? datagrams->endpoints[low] : NULL;
}

size_t send_all(int fd, struct mmsghdr *messages, unsigned int count) {
  size_t refused = 0;
  for (unsigned int at = 0; at < count;) {
    int sent = sendmmsg(fd, messages + at, count - at, MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent > 0) at += (unsigned int)sent;
    else at++, refused++;
  }
  return refused;
}

/* Returns how many datagrams there were. What the kernel writes to the headers is what stands there already. */
static unsigned int receive(struct receiver *receiver, int fd) {
  int n = recvmmsg(fd, receiver->received, BURST, MSG_DONTWAIT, NULL);
  return n > 0 ? (unsigned int)n : 0;
}

static void add_answer(struct receiver *receiver, unsigned int at, unsigned int from, size_t len) {
  receiver->out[at] = (struct iovec){.iov_base = receiver->answers[at], .iov_len = len};
  receiver->sent[at].msg_hdr = (struct msghdr){.msg_name = &receiver->from[from],
                                               .msg_namelen = sizeof receiver->from[from],
                                               .msg_iov = &receiver->out[at],
                                               .msg_iovlen = 1};
}

void listen_to(struct datagrams *datagrams, struct endpoint *endpoint, bool deaf) {
  struct epoll_event event = {.events = deaf ? 0 : EPOLLIN, .data.u32 = endpoint->id};
  if (epoll_ctl(datagrams->epoll_fd, EPOLL_CTL_MOD, endpoint->fd, &event) == 0) endpoint->deaf = deaf;
}

/* Without memory the message is lost, as it is where a socket's buffer is full. */
static void hand_over(struct datagrams *datagrams, struct endpoint *endpoint, const struct sockaddr_in *from,
                      const uint8_t *message, size_t len) {
  if (!datagrams->open && !(datagrams->open = calloc(1, sizeof *datagrams->open))) return;
  struct bytes *bytes = &datagrams->open->bytes;
  struct envelope envelope = {.id = endpoint->id, .address = from->sin_addr.s_addr, .port = ntohs(from->sin_port),
                              .len = (uint32_t)len};
  if (!bytes_reserve(bytes, sizeof envelope + len)) return;
  bytes_append(bytes, &envelope, sizeof envelope);
  bytes_append(bytes, message, len);
  endpoint->waiting += sizeof envelope + len;
}

/* Posted when it is new: what comes until the loop takes it is added. */
static void post_sheaf(struct datagrams *datagrams) {
  struct sheaf *sheaf = datagrams->open;
  if (!sheaf || sheaf->datagrams) return;
  sheaf->job.settle = datagrams_settle;
  sheaf->datagrams = datagrams;
  atomic_fetch_add(&datagrams->refs, 1);
  post_job(datagrams->weft, &sheaf->job);
}

static void serve(struct datagrams *datagrams, struct endpoint *endpoint) {
  struct receiver *receiver = datagrams->receiver;
  unsigned int count = receive(receiver, endpoint->fd), answered = 0;
  for (unsigned int i = 0; i < count; i++) {
    receiver->hashes[i] = answers_hash(&datagrams->validity, receiver->messages[i], receiver->received[i].msg_len);
    answers_prefetch(&endpoint->answers, receiver->hashes[i]);
  }
  for (unsigned int i = 0; i < count; i++) {
    const uint8_t *message = receiver->messages[i];
    size_t len = receiver->received[i].msg_len;
    struct entry *entry = answers_find(&endpoint->answers, &datagrams->validity, receiver->hashes[i], message, len);
    if (entry) {
      size_t size = answers_write(entry, &datagrams->validity, message, receiver->answers[answered]);
      add_answer(receiver, answered++, i, size);
      endpoint->hits[entry->kind]++;
    } else {
      hand_over(datagrams, endpoint, &receiver->from[i], message, len);
    }
  }
  if (answered) endpoint->refused += send_all(endpoint->fd, receiver->sent, answered);
  if (endpoint->waiting > WAITING_MAX) listen_to(datagrams, endpoint, true);
  post_sheaf(datagrams);
}

void *datagrams_body(void *arg) {
  struct datagrams *datagrams = arg;
  struct epoll_event events[32];
  /* On a machine whose processors are all busy it goes before the loop, which may work for long; it does not itself.
   * What is not allowed is done without. */
  (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
  while (!atomic_load(&datagrams->stopped)) {
    int count = epoll_wait(datagrams->epoll_fd, events, COUNT(events), -1);
    for (int i = 0; i < count && !atomic_load(&datagrams->stopped); i++) {
      datagrams_lock(datagrams);
      struct endpoint *endpoint = events[i].data.u32 ? find_endpoint(datagrams, events[i].data.u32) : NULL;
      datagrams->validity.now_ms = monotonic_ms();
      if (endpoint) serve(datagrams, endpoint);
      datagrams_unlock(datagrams);
    }
  }
  return NULL;
}

