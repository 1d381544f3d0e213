#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: traffic serve CPU SINK-CPU PORT\n"
    "       traffic established|connect|udp CPU ADDRESS PORT COUNT\n"
    "       traffic bulk CPU ADDRESS PORT MILLISECONDS\n"
    "CPU -1 pins nothing.\n";

_Noreturn void fail(const char *what) {
  fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
  exit(1);
}

void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fail("sched_setaffinity");
}

void unpaced(int fd) {
  static const char CUBIC[] = "cubic", RENO[] = "reno";
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, CUBIC, sizeof CUBIC - 1) == 0) return;
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, RENO, sizeof RENO - 1) != 0) fail("TCP_CONGESTION");
}

int receive_all(int fd, void *buffer, size_t size) {
  for (size_t have = 0; have < size;) {
    ssize_t n = recv(fd, (char *)buffer + have, size - have, 0);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) return 0;
    if (n < 0) fail("recv");
    have += (size_t)n;
  }
  return 1;
}

void send_all(int fd, const void *buffer, size_t size) {
  for (size_t sent = 0; sent < size;) {
    ssize_t n = send(fd, (const char *)buffer + sent, size - sent, 0);
    if (n < 0) fail("send");
    sent += (size_t)n;
  }
}

static _Noreturn void usage(void) {
  fputs(USAGE, stderr);
  exit(2);
}

static long number(const char *text, long least, long most) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || value < least || value > most) usage();
  return value;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc == 5 && strcmp(argv[1], "serve") == 0)
    serve((int)number(argv[2], -1, CPU_SETSIZE - 1), (int)number(argv[3], -1, CPU_SETSIZE - 1),
          (uint16_t)number(argv[4], 1, 65534));
  if (argc != 6) usage();

  static const struct {
    const char *name;
    void (*measure)(const struct sockaddr_in *to, uint32_t amount);
  } MODES[] = {
      {"established", measure_established},
      {"connect", measure_connect},
      {"udp", measure_udp},
      {"bulk", measure_bulk},
  };
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number(argv[4], 1, 65535))};
  if (inet_pton(AF_INET, argv[3], &to.sin_addr) != 1) usage();
  for (size_t i = 0; i < sizeof MODES / sizeof *MODES; i++) {
    if (strcmp(argv[1], MODES[i].name) != 0) continue;
    pin((int)number(argv[2], -1, CPU_SETSIZE - 1));
    MODES[i].measure(&to, (uint32_t)number(argv[5], 1, 10000000));
    return 0;
  }
  usage();
}
