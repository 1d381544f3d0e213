#include "traffic.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int bound(int type, uint16_t port) {
  int fd = socket(AF_INET, type, 0);
  if (fd < 0) fail("socket");
  int on = 1;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) fail("SO_REUSEADDR");
  // Connections inherit it.
  if (type == SOCK_STREAM) unpaced(fd);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0) fail("bind");
  if (type == SOCK_STREAM && listen(fd, 128) != 0) fail("listen");
  return fd;
}

// A child for each role, each blocking in one system call: what is measured is the path, not an event loop.
static void child(void (*role)(int fd), int fd, int cpu) {
  pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid > 0) return;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail("prctl");
  pin(cpu);
  role(fd);
  exit(0);
}

static int next_connection(int listener) {
  int fd = accept(listener, NULL, NULL);
  if (fd < 0) {
    // Reset before it was taken: the client of a latency run closes that way.
    if (errno == ECONNABORTED || errno == EINTR) return -1;
    fail("accept");
  }
  return fd;
}

static void echo_stream(int listener) {
  char message[MESSAGE];
  for (;;) {
    int fd = next_connection(listener);
    if (fd < 0) continue;
    int on = 1;
    // A connection that was reset meanwhile refuses the option; the read below sees its end.
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (receive_all(fd, message, sizeof message))
      if (send(fd, message, sizeof message, 0) < 0) break;
    close(fd);
  }
}

static void echo_datagrams(int fd) {
  char message[MESSAGE];
  for (;;) {
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t n = recvfrom(fd, message, sizeof message, 0, (struct sockaddr *)&from, &size);
    // An error here is an earlier reply's that nobody waited for.
    if (n > 0) (void)sendto(fd, message, (size_t)n, 0, (struct sockaddr *)&from, size);
  }
}

static void sink(int listener) {
  static char buffer[1 << 18];
  for (;;) {
    int fd = next_connection(listener);
    if (fd < 0) continue;
    uint64_t total = 0;
    ssize_t n;
    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0) total += (uint64_t)n;
    if (n == 0) (void)send(fd, &total, sizeof total, 0);
    close(fd);
  }
}

_Noreturn void serve(int cpu, int sink_cpu, uint16_t port) {
  int streams = bound(SOCK_STREAM, port), datagrams = bound(SOCK_DGRAM, port);
  int bulk = bound(SOCK_STREAM, (uint16_t)(port + 1));
  child(echo_datagrams, datagrams, cpu);
  child(sink, bulk, sink_cpu);
  pin(cpu);
  puts("ready");
  fflush(stdout);
  echo_stream(streams);
  exit(1);
}
