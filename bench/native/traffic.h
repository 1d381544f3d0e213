// Client and server that measure a path: small messages for latency, a bulk stream for throughput.
#pragma once

#include <netinet/in.h>
#include <stdint.h>

// Bytes of a request and of its reply: no path segments it, and every path copies it.
#define MESSAGE 64
// Seconds after which a silent peer is an error: a lost packet must end a measurement, not stretch it.
#define SILENCE 5

// Ends the program with status 1, saying what failed and errno's text.
_Noreturn void fail(const char *what);

// Both sides of a latency figure share one CPU: else the scheduler moves it by a factor of two. -1 leaves it open.
void pin(int cpu);

// cubic, or reno where the kernel lacks it: a machine's default may pace (bbr), and then timers are measured.
void unpaced(int fd);

// Whole message over a stream, or failure. Return 0 when the peer has closed (receive only).
int receive_all(int fd, void *buffer, size_t size);
void send_all(int fd, const void *buffer, size_t size);

// Serves on every IPv4 address until killed: TCP and UDP echo of MESSAGE bytes at `port` on `cpu`, and at `port` + 1
// a sink on `sink_cpu` that answers the end of a stream with the number of its bytes (8 bytes, host order).
_Noreturn void serve(int cpu, int sink_cpu, uint16_t port);

// Measure against such a server and print one line of JSON. Times are nanoseconds of CLOCK_MONOTONIC.
// Latencies: {"p50","p99","count"}; a tenth of `count` operations run before, unmeasured.
void measure_established(const struct sockaddr_in *to, uint32_t count);
void measure_connect(const struct sockaddr_in *to, uint32_t count);
void measure_udp(const struct sockaddr_in *to, uint32_t count);
// Throughput: {"bytes","ns"}, until the sink has confirmed the last byte.
void measure_bulk(const struct sockaddr_in *to, uint32_t milliseconds);
