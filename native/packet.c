#include "weft.h"

#include <errno.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* ---- whole frames out of an interface ---- */

struct frame {
  const uint8_t *at; /* the caller's memory */
  size_t len;
};

struct packets {
  struct frame *frames;
  uint32_t count;
};

/* A place_fn. Protocol 0: the socket receives nothing. */
static int open_here(void *arg) {
  int *fd = arg;
  *fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  return *fd < 0 ? errno : 0;
}

/* The socket's namespace is the one that is asked for the device, whichever the thread is in. */
static int send_all(int fd, const char *device, const struct packets *packets) {
  struct ifreq request = {0};
  size_t len = strlen(device);
  if (len >= sizeof request.ifr_name) return ENODEV;
  memcpy(request.ifr_name, device, len);
  if (ioctl(fd, SIOCGIFINDEX, &request)) return errno;
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = request.ifr_ifindex};
  for (uint32_t i = 0; i < packets->count; i++) {
    const struct frame *frame = &packets->frames[i];
    if (sendto(fd, frame->at, frame->len, 0, (const struct sockaddr *)&to, sizeof to) < 0) return errno;
  }
  return 0;
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

napi_value packet_open(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  int netns_fd = -1, fd = -1;
  if (!call_begin(env, cbinfo, "packetOpen", &call) || !arg_fd(&call, 0, "netnsFd", true, &netns_fd)) return NULL;
  int err = run_in(netns_fd, -1, open_here, &fd);
  return err ? throw_errno(&call, err, NULL) : tracked_fd(&call, fd);
}

napi_value packet_send(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct packets packets = {0};
  char *device = NULL;
  int fd = -1;
  if (!call_begin(env, cbinfo, "packetSend", &call) || !arg_fd(&call, 0, "fd", false, &fd) ||
      !arg_string(&call, 1, "device", &device)) {
    return NULL;
  }
  napi_value result = NULL;
  if (read_frames(&call, 2, &packets)) {
    int err = send_all(fd, device, &packets);
    result = err ? throw_errno(&call, err, device) : js_undefined(env);
  }
  free(packets.frames);
  free(device);
  return result;
}
