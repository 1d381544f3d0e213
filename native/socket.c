#include "weft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- sockets for node to adopt, or to hold a port ---- */

/* Linux 4.15, in6.h; older C libraries lack it. */
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

struct listening {
  int type, protocol;
  union address address;
  bool reuse_addr, reuse_port, v6only, mtu_probe, free_bind, deaf;
  const char *device; /* NULL: any */
  int fd, port;       /* result */
};

/* Datagrams bear "don't fragment", and neither the route's MTU nor what was learned of the path holds them back: only the
 * interface's. */
static int set_mtu_probe(int fd, bool v6) {
  int probe4 = IP_PMTUDISC_PROBE, probe6 = IPV6_PMTUDISC_PROBE, on = 1;
  if (!v6) return setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe4, sizeof probe4);
  return setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe6, sizeof probe6) ||
         setsockopt(fd, IPPROTO_IPV6, IPV6_DONTFRAG, &on, sizeof on);
}

/* Drops every packet before it is queued. */
static int deafen(int fd) {
  struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  struct sock_fprog program = {.len = 1, .filter = &drop};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static int free_bind(int fd, bool v6) {
  int on = 1;
  return v6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on)
            : setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
}

static int bind_here(void *arg) {
  struct listening *want = arg;
  int on = 1, v6only = want->v6only;
  bool v6 = want->address.any.sa_family == AF_INET6;
  socklen_t len = v6 ? sizeof want->address.v6 : sizeof want->address.v4;
  union address bound;
  int fd = socket(want->address.any.sa_family, want->type | SOCK_CLOEXEC | SOCK_NONBLOCK, want->protocol);
  if (fd < 0) return errno;
  if ((want->reuse_addr && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) ||
      (want->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) ||
      (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only)) ||
      (want->mtu_probe && set_mtu_probe(fd, v6)) ||
      (want->device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, want->device, strlen(want->device))) ||
      (want->free_bind && free_bind(fd, v6)) || (want->deaf && deafen(fd)) ||
      bind(fd, &want->address.any, len) || getsockname(fd, &bound.any, &len)) {
    int err = errno;
    close(fd);
    return err;
  }
  want->fd = fd;
  want->port = ntohs(v6 ? bound.v6.sin6_port : bound.v4.sin_port);
  return 0;
}

static bool parse_address(const char *text, int64_t family, int64_t port, union address *out) {
  *out = (union address){0};
  if (family == 6) {
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons((uint16_t)port);
    return inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1;
  }
  out->v4.sin_family = AF_INET;
  out->v4.sin_port = htons((uint16_t)port);
  return family == 4 && inet_pton(AF_INET, text, &out->v4.sin_addr) == 1;
}

static const struct {
  const char *name;
  int type, protocol;
} PROTOCOLS[] = {
    {"udp", SOCK_DGRAM, IPPROTO_UDP},
    {"tcp", SOCK_STREAM, IPPROTO_TCP},
    {"sctp", SOCK_STREAM, IPPROTO_SCTP},
};

static bool read_type(struct call *call, napi_value options, struct listening *want) {
  char *text = NULL;
  if (!prop_string(call, options, "type", &text)) return false;
  for (size_t i = 0; i < sizeof PROTOCOLS / sizeof PROTOCOLS[0]; i++) {
    if (strcmp(text, PROTOCOLS[i].name) != 0) continue;
    want->type = PROTOCOLS[i].type;
    want->protocol = PROTOCOLS[i].protocol;
  }
  free(text);
  return want->type ? true : (throw_invalid(call, "type must be 'udp', 'tcp' or 'sctp'"), false);
}

static const char *protocol_name(int protocol) {
  for (size_t i = 0; i < sizeof PROTOCOLS / sizeof PROTOCOLS[0]; i++)
    if (PROTOCOLS[i].protocol == protocol) return PROTOCOLS[i].name;
  return "?";
}

static napi_value open_listening(struct call *call, int netns_fd, struct listening *want, const char *text, int64_t port) {
  char subject[96];
  int err = run_in(netns_fd, -1, bind_here, want);
  snprintf(subject, sizeof subject, "%s %s port %d", protocol_name(want->protocol), text, (int)port);
  if (err) return throw_errno(call, err, subject);
  napi_value result = NULL;
  napi_create_object(call->env, &result);
  set_prop(call->env, result, "fd", js_int(call->env, want->fd));
  set_prop(call->env, result, "port", js_int(call->env, want->port));
  return result;
}

napi_value socket_open(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct listening want = {0};
  int netns_fd = -1;
  int64_t family = 0, port = 0;
  char *text = NULL, *device = NULL;
  if (!call_begin(env, cbinfo, "socketOpen", &call) || !arg_fd(&call, 0, "netnsFd", true, &netns_fd)) return NULL;
  napi_value options = call.argv[1], result = NULL;
  if (!read_type(&call, options, &want) || !prop_int(&call, options, "family", 4, 6, 0, &family) ||
      !prop_int(&call, options, "port", 0, 65535, 0, &port) ||
      !prop_bool(&call, options, "reuseAddr", &want.reuse_addr) ||
      !prop_bool(&call, options, "reusePort", &want.reuse_port) || !prop_bool(&call, options, "v6only", &want.v6only) ||
      !prop_bool(&call, options, "mtuProbe", &want.mtu_probe) ||
      !prop_bool(&call, options, "freeBind", &want.free_bind) || !prop_bool(&call, options, "deaf", &want.deaf) ||
      !prop_string(&call, options, "address", &text)) {
    return NULL;
  }
  if (!prop_optional_string(&call, options, "device", &device)) return free(text), NULL;
  want.device = device;
  if (parse_address(text, family, port, &want.address)) result = open_listening(&call, netns_fd, &want, text, port);
  else throw_invalid(&call, "address must be an IP address of the family, 4 or 6");
  free(text);
  free(device);
  return result;
}

/* ---- the other end of a unix socket ---- */

napi_value peer_cred(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct ucred cred;
  socklen_t len = sizeof cred;
  int fd = -1;
  if (!call_begin(env, cbinfo, "peerCred", &call) || !arg_fd(&call, 0, "fd", false, &fd)) return NULL;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len)) return throw_errno(&call, errno, "SO_PEERCRED");
  napi_value result = NULL;
  napi_create_object(env, &result);
  set_prop(env, result, "pid", js_int(env, cred.pid));
  set_prop(env, result, "uid", js_int(env, cred.uid));
  set_prop(env, result, "gid", js_int(env, cred.gid));
  return result;
}

/* ---- sd_notify(3) ---- */

/* A path, or '@' and a name in the abstract namespace (whose length is part of the name). */
static bool notify_address(const char *where, struct sockaddr_un *address, socklen_t *len) {
  size_t size = strlen(where);
  if ((where[0] != '/' && where[0] != '@') || size < 2 || size >= sizeof address->sun_path) return false;
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(address->sun_path, where, size);
  *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (where[0] == '/'));
  if (where[0] == '@') address->sun_path[0] = 0;
  return true;
}

static int send_notification(const struct sockaddr_un *address, socklen_t len, const char *text) {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  ssize_t n = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)address, len);
  int err = n < 0 ? errno : 0;
  close(fd);
  return err;
}

napi_value sd_notify(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct sockaddr_un address;
  socklen_t len = 0;
  char *text = NULL;
  if (!call_begin(env, cbinfo, "sdNotify", &call) || !arg_string(&call, 0, "text", &text)) return NULL;
  const char *where = getenv("NOTIFY_SOCKET");
  int err = 0;
  if (where && *where) {
    err = notify_address(where, &address, &len) ? send_notification(&address, len, text) : EAFNOSUPPORT;
  }
  free(text);
  if (err) return throw_errno(&call, err, where);
  napi_value sent = NULL;
  napi_get_boolean(env, where && *where, &sent);
  return sent;
}
