#include "weft.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Port ids of our own choice: unique over all namespaces of this process, and never a pid. Left alone the kernel gives
 * the first socket of each namespace the process's pid *as its own pid namespace counts*, so a container's program can
 * hold "our" number, and ignoring our own changes by port id would ignore that program's. Pids end at 2^22, the kernel's
 * fallback numbers are negative: 0x40000000-0x7fffffff is free.
 */
static atomic_uint port_counter;

static void seed_port_counter(void) {
  unsigned seed = (unsigned)getpid();
  if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) < 0) seed *= 2654435761u;
  atomic_store(&port_counter, seed);
}

static uint32_t next_port_id(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, seed_port_counter);
  return 0x40000000u | (atomic_fetch_add(&port_counter, 1) & 0x3fffffffu);
}

static int bind_own_port(int fd, uint32_t *port_id) {
  for (int tries = 0; tries < 64; tries++) {
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_pid = next_port_id()};
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0) {
      *port_id = addr.nl_pid;
      return 0;
    }
    if (errno != EADDRINUSE) return errno;
  }
  return EADDRINUSE;
}

static int set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) ? errno : 0;
}

/* The FORCE forms pass net.core.{r,w}mem_max but need CAP_NET_ADMIN in the initial user namespace. */
static void set_buffers(int fd, int bytes, bool send_too) {
  if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes)) set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes);
  if (send_too && set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes)) set_option(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}

static int set_modes(int fd, const struct nl_open *want) {
  int err = 0;
  if (want->transact) {
    err = set_option(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    if (!err) err = set_option(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
    if (!err) err = set_option(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    if (err == ENOPROTOOPT) err = 0; /* before Linux 4.20 */
  }
  if (!err && want->all_nsids) err = set_option(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1);
  for (size_t i = 0; !err && i < want->group_count; i++) {
    err = set_option(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, (int)want->groups[i]);
  }
  return err;
}

/* A place_fn: the socket belongs to the namespace of the thread that calls socket(2) and stays there. */
int nl_open_here(void *nl_open) {
  struct nl_open *want = nl_open;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, want->protocol);
  if (fd < 0) return errno;
  set_buffers(fd, want->rcvbuf, want->transact);
  int err = bind_own_port(fd, &want->port_id);
  if (!err) err = set_modes(fd, want);
  if (err) close(fd);
  else want->fd = fd;
  return err;
}

static bool asks_for_answer(const struct nlmsghdr *header) {
  return (header->nlmsg_flags & NLM_F_ACK) || (header->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
}

/* What is wrong with a batch, or NULL. The bytes may be unaligned, as a view into a larger Buffer can be. */
const char *nl_check_batch(const uint8_t *at, size_t len, struct nl_range *range) {
  struct nlmsghdr header;
  bool answered = false;
  for (size_t done = 0; done < len; done += NLMSG_ALIGN(header.nlmsg_len)) {
    if (len - done < NLMSG_HDRLEN) return "the batch ends inside a message header";
    memcpy(&header, at + done, sizeof header);
    if (header.nlmsg_len < NLMSG_HDRLEN) return "a message is shorter than its header";
    if (NLMSG_ALIGN((size_t)header.nlmsg_len) > len - done) return "a message with its padding ends outside the batch";
    if (done == 0) range->first = header.nlmsg_seq;
    else if ((int32_t)(header.nlmsg_seq - range->last) < 0) return "the sequence numbers of a batch must not go down";
    range->last = header.nlmsg_seq;
    if (!asks_for_answer(&header)) continue;
    answered = true;
    range->answered = header.nlmsg_seq;
  }
  return answered ? NULL : "no message asks for an answer (NLM_F_ACK or NLM_F_DUMP)";
}

struct progress {
  bool complete; /* the last message is answered */
  bool failed;   /* the kernel refused one of the batch */
};

/* Keep the messages that answer this batch; 0 or ENOMEM. */
static int sort_datagram(const struct nl_exchange *x, size_t len, struct progress *progress) {
  for (size_t at = 0; len - at >= NLMSG_HDRLEN;) {
    struct nlmsghdr *header = (struct nlmsghdr *)(x->scratch + at);
    size_t size = NLMSG_ALIGN((size_t)header->nlmsg_len);
    if (header->nlmsg_len < NLMSG_HDRLEN || header->nlmsg_len > len - at) return EBADMSG;
    if (size > len - at) size = len - at;
    at += size;
    if (header->nlmsg_seq - x->range.first > x->range.last - x->range.first) continue; /* of an older batch */
    if (!bytes_append(x->reply, header, size)) return ENOMEM;
    bool error = header->nlmsg_type == NLMSG_ERROR;
    bool done = header->nlmsg_type == NLMSG_DONE;
    if ((error || done) && header->nlmsg_seq == x->range.answered) progress->complete = true;
    if (error && header->nlmsg_len >= NLMSG_LENGTH(sizeof(int)) && *(int *)NLMSG_DATA(header)) progress->failed = true;
  }
  return 0;
}

/* One datagram into the scratch buffer: its length, or -errno. Only the kernel (port 0) is listened to. */
static ssize_t receive(int fd, uint8_t *scratch) {
  for (;;) {
    struct sockaddr_nl from = {0};
    struct iovec iov = {.iov_base = scratch, .iov_len = NL_DATAGRAM_MAX};
    struct msghdr msg = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (from.nl_pid != 0) continue;
    return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
  }
}

static int wait_readable(const struct nl_exchange *x) {
  struct pollfd fds[] = {{.fd = x->fd, .events = POLLIN}, {.fd = x->wake_fd, .events = POLLIN}};
  int left = wait_ms(x->deadline);
  if (left == 0) return ETIMEDOUT;
  if (poll(fds, COUNT(fds), left) < 0 && errno != EINTR) return errno;
  if (atomic_load(x->cancelled)) return ECANCELED;
  if (fds[1].revents) { /* meant for an exchange that was over already */
    uint64_t count;
    if (read(x->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN) return errno;
  }
  return 0;
}

/*
 * Empty the socket of what an exchange that was broken off left there. A dump among it goes on as it is read, and until
 * its end the kernel refuses the next one (EBUSY).
 */
static int drain(const struct nl_exchange *x) {
  while (*x->dirty) {
    ssize_t n = receive(x->fd, x->scratch);
    if (n == -EAGAIN) *x->dirty = false;
    else if (n < 0 && n != -ENOBUFS && n != -EMSGSIZE) return (int)-n;
    else if (monotonic_ms() >= x->deadline) return ETIMEDOUT;
  }
  return 0;
}

static int collect(const struct nl_exchange *x) {
  struct progress progress = {0};
  bool more = x->range.last != x->range.answered; /* later messages, which only speak up when they fail */
  while (!progress.complete || more) {
    ssize_t n = receive(x->fd, x->scratch);
    int err = 0;
    if (n >= 0) err = sort_datagram(x, (size_t)n, &progress);
    else if (n != -EAGAIN) err = (int)-n;
    /* The kernel answers inside sendmsg: after a failure and with nothing left to read, no more will come. nfnetlink
     * refuses a whole batch so, under the sequence number of its first message. The same goes for what follows the
     * last answer. */
    else if (progress.failed || progress.complete) return 0;
    else err = wait_readable(x);
    if (err) return err;
  }
  return 0;
}

int nl_exchange(const struct nl_exchange *x) {
  if (atomic_load(x->cancelled)) return ECANCELED;
  int err = drain(x);
  if (err) return err;
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  struct iovec iov = {.iov_base = (void *)x->sent, .iov_len = x->sent_len};
  struct msghdr msg = {.msg_name = &kernel, .msg_namelen = sizeof kernel, .msg_iov = &iov, .msg_iovlen = 1};
  while (sendmsg(x->fd, &msg, 0) < 0) {
    if (errno != EINTR) return errno;
  }
  err = collect(x);
  *x->dirty = err != 0;
  return err;
}
