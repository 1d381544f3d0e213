#include "weft.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool bytes_reserve(struct bytes *bytes, size_t more) {
  if (bytes->room - bytes->len >= more) return true;
  size_t room = bytes->room ? bytes->room : 512;
  while (room - bytes->len < more) room *= 2;
  uint8_t *at = realloc(bytes->at, room);
  if (!at) return false;
  bytes->at = at;
  bytes->room = room;
  return true;
}

bool bytes_append(struct bytes *bytes, const void *at, size_t len) {
  if (!bytes_reserve(bytes, len)) return false;
  if (len) memcpy(bytes->at + bytes->len, at, len);
  bytes->len += len;
  return true;
}

void bytes_free(struct bytes *bytes) {
  free(bytes->at);
  *bytes = (struct bytes){0};
}

int64_t monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int wait_ms(int64_t deadline) {
  int64_t left = deadline - monotonic_ms();
  if (left < 0) return 0;
  return left > INT_MAX ? INT_MAX : (int)left;
}
