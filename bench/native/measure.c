#include "traffic.h"

#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int connected(int type, const struct sockaddr_in *to) {
  int fd = socket(AF_INET, type, 0);
  if (fd < 0) fail("socket");
  struct timeval silence = {.tv_sec = SILENCE};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) != 0) fail("SO_RCVTIMEO");
  if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence) != 0) fail("SO_SNDTIMEO");
  if (type == SOCK_STREAM) {
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
    unpaced(fd);
  }
  if (connect(fd, (const struct sockaddr *)to, sizeof *to) != 0) fail("connect");
  return fd;
}

static void exchange(int fd) {
  char message[MESSAGE] = {0};
  send_all(fd, message, sizeof message);
  if (!receive_all(fd, message, sizeof message)) {
    fputs("traffic: the server closed the connection\n", stderr);
    exit(1);
  }
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

// Times `operation` `count` times. All memory is there before the first: a page fault would be in the figure.
static void latencies(uint32_t count, void (*operation)(void *context), void *context) {
  size_t size = sizeof(uint64_t) * count;
  uint64_t *samples = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (samples == MAP_FAILED) fail("mmap");
  for (uint32_t i = 0; i < count / 10; i++) operation(context);
  for (uint32_t i = 0; i < count; i++) {
    uint64_t start = now();
    operation(context);
    samples[i] = now() - start;
  }
  qsort(samples, count, sizeof *samples, by_value);
  printf("{\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"count\":%" PRIu32 "}\n", samples[count / 2],
         samples[(uint64_t)count * 99 / 100], count);
  munmap(samples, size);
}

static void round_trip(void *context) { exchange(*(int *)context); }

void measure_established(const struct sockaddr_in *to, uint32_t count) {
  int fd = connected(SOCK_STREAM, to);
  latencies(count, round_trip, &fd);
  close(fd);
}

void measure_udp(const struct sockaddr_in *to, uint32_t count) {
  int fd = connected(SOCK_DGRAM, to);
  latencies(count, round_trip, &fd);
  close(fd);
}

// Ends with a reset: no TIME_WAIT is left to run out of ports with.
static void whole_connection(void *context) {
  int fd = connected(SOCK_STREAM, context);
  exchange(fd);
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0) fail("SO_LINGER");
  close(fd);
}

void measure_connect(const struct sockaddr_in *to, uint32_t count) {
  struct sockaddr_in server = *to;
  latencies(count, whole_connection, &server);
}

void measure_bulk(const struct sockaddr_in *to, uint32_t milliseconds) {
  static char buffer[1 << 17];
  memset(buffer, 'w', sizeof buffer);
  int fd = connected(SOCK_STREAM, to);
  uint64_t start = now(), end = start + (uint64_t)milliseconds * 1000000u, sent = 0, taken = 0;
  while (now() < end) {
    send_all(fd, buffer, sizeof buffer);
    sent += sizeof buffer;
  }
  if (shutdown(fd, SHUT_WR) != 0) fail("shutdown");
  if (!receive_all(fd, &taken, sizeof taken) || taken != sent) {
    fprintf(stderr, "traffic: sent %" PRIu64 " bytes, the sink took %" PRIu64 "\n", sent, taken);
    exit(1);
  }
  printf("{\"bytes\":%" PRIu64 ",\"ns\":%" PRIu64 "}\n", sent, now() - start);
  close(fd);
}
