#include "weft.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A legacy iptables table in numbers: what two questions a second can compare without starting a program. */
struct xt_table_numbers {
  int family;
  const char *table;
  bool present; /* result */
  unsigned valid_hooks, entries, size;
};

/*
 * The list of the tables that this namespace has. Looked at first, because IPT_SO_GET_INFO for a table that is not there
 * loads its module and creates it, hooks and all (xt_request_find_table_lock): asking would change what is asked about.
 */
static bool is_listed(const struct xt_table_numbers *want) {
  bool v4 = want->family == 4;
  FILE *list = fopen(v4 ? "/proc/thread-self/net/ip_tables_names" : "/proc/thread-self/net/ip6_tables_names", "re");
  char line[XT_TABLE_MAXNAMELEN + 2];
  bool found = false;
  if (!list) return false; /* without the module there is no list */
  while (!found && fgets(line, sizeof line, list)) {
    line[strcspn(line, "\n")] = 0;
    found = strcmp(line, want->table) == 0;
  }
  fclose(list);
  return found;
}

static int ask_here(void *arg) {
  struct xt_table_numbers *want = arg;
  bool v4 = want->family == 4;
  struct ipt_getinfo v4_info = {0};
  struct ip6t_getinfo v6_info = {0};
  socklen_t len = v4 ? sizeof v4_info : sizeof v6_info;
  if (!is_listed(want)) return 0;
  strncpy(v4 ? v4_info.name : v6_info.name, want->table, XT_TABLE_MAXNAMELEN - 1);
  int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  if (fd < 0) return errno;
  int err = v4 ? getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &v4_info, &len)
               : getsockopt(fd, IPPROTO_IPV6, IP6T_SO_GET_INFO, &v6_info, &len);
  err = err ? errno : 0;
  close(fd);
  if (err) return err == ENOENT || err == ENOPROTOOPT ? 0 : err; /* gone since */
  want->present = true;
  want->valid_hooks = v4 ? v4_info.valid_hooks : v6_info.valid_hooks;
  want->entries = v4 ? v4_info.num_entries : v6_info.num_entries;
  want->size = v4 ? v4_info.size : v6_info.size;
  return 0;
}

napi_value xt_get_info(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  struct xt_table_numbers want = {0};
  int netns_fd = -1;
  int64_t family = 0;
  char *table = NULL;
  if (!call_begin(env, cbinfo, "xtGetInfo", &call) || !arg_fd(&call, 0, "netnsFd", true, &netns_fd) ||
      !arg_int(&call, 1, "family", 4, 6, &family) || !arg_string(&call, 2, "table", &table)) {
    return NULL;
  }
  want.family = (int)family;
  want.table = table;
  int err = family == 5 || strlen(table) >= XT_TABLE_MAXNAMELEN ? EINVAL : run_in(netns_fd, -1, ask_here, &want);
  napi_value result = NULL;
  if (err) {
    throw_errno(&call, err, table);
  } else if (!want.present) {
    napi_get_null(env, &result);
  } else {
    napi_create_object(env, &result);
    set_prop(env, result, "validHooks", js_int(env, want.valid_hooks));
    set_prop(env, result, "entries", js_int(env, want.entries));
    set_prop(env, result, "size", js_int(env, want.size));
  }
  free(table);
  return result;
}
