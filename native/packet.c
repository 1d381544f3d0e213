#include "weft.h"

#include <errno.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- whole frames out of an interface ---- */

struct frame {
  const uint8_t *at; /* the caller's memory */
  size_t len;
};

struct packets {
  const char *device;
  struct frame *frames;
  uint32_t count;
};

/* Protocol 0: the socket receives nothing. */
static int send_here(void *arg) {
  const struct packets *packets = arg;
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(packets->device)};
  if (to.sll_ifindex == 0) return errno;
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), err = 0;
  if (fd < 0) return errno;
  for (uint32_t i = 0; i < packets->count && !err; i++) {
    const struct frame *frame = &packets->frames[i];
    if (sendto(fd, frame->at, frame->len, 0, (const struct sockaddr *)&to, sizeof to) < 0) err = errno;
  }
  close(fd);
  return err;
}

static bool read_frames(struct call *call, size_t i, struct packets *packets) {
  if (!arg_array(call, i, "frames", &packets->count)) return false;
  packets->frames = calloc(packets->count ? packets->count : 1, sizeof *packets->frames);
  if (!packets->frames) return throw_errno(call, ENOMEM, NULL), false;
  for (uint32_t k = 0; k < packets->count; k++) {
    napi_value item = NULL;
    void *at = NULL;
    bool buffer = false;
    napi_get_element(call->env, call->argv[i], k, &item);
    napi_is_buffer(call->env, item, &buffer);
    if (!buffer || napi_get_buffer_info(call->env, item, &at, &packets->frames[k].len) != napi_ok)
      return throw_invalid(call, "frames must be Buffers"), false;
    packets->frames[k].at = at;
  }
  return true;
}

napi_value packet_send(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct packets packets = {0};
  char *device = NULL;
  int netns_fd = -1;
  if (!call_begin(env, cbinfo, "packetSend", &call) || !arg_fd(&call, 0, "netnsFd", true, &netns_fd) ||
      !arg_string(&call, 1, "device", &device)) {
    return NULL;
  }
  packets.device = device;
  napi_value result = NULL;
  if (read_frames(&call, 2, &packets)) {
    int err = run_in(netns_fd, -1, send_here, &packets);
    result = err ? throw_errno(&call, err, device) : js_undefined(env);
  }
  free(packets.frames);
  free(device);
  return result;
}
