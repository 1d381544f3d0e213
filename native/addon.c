#include "weft.h"

#include <malloc.h>
#include <stdlib.h>

/*
 * The loop side. One threadsafe function carries everything our threads have to say: finished transactions and programs,
 * and what the monitors and the threads of datagrams hand over.
 *
 * napi_async_work was considered and rejected: an ending environment waits for its libuv requests before it runs any
 * cleanup hook, and process.exit() joins libuv's pool, so one transaction with a long timeout would hold both up.
 */

static void settle_on_loop(napi_env env, napi_value callback, void *context, void *data) {
  (void)callback;
  (void)context;
  struct job *job = data;
  job->settle(env, job);
}

void post_job(struct weft *weft, struct job *job) {
  napi_call_threadsafe_function(weft->loop, job, napi_tsfn_nonblocking);
}

void weft_unref(struct weft *weft) {
  if (--weft->refs > 0) return;
  free(weft->scratch);
  free(weft->netns_fds);
  free(weft);
}

napi_value new_promise(napi_env env, struct weft *weft, napi_deferred *deferred) {
  napi_value promise = NULL;
  if (napi_create_promise(env, deferred, &promise) != napi_ok) return NULL;
  if (weft->promises++ == 0) napi_ref_threadsafe_function(env, weft->loop);
  return promise;
}

void settle_promise(napi_env env, struct weft *weft, napi_deferred deferred, napi_value value, napi_value error) {
  if (--weft->promises == 0) napi_unref_threadsafe_function(env, weft->loop);
  if (error) napi_reject_deferred(env, deferred, error);
  else napi_resolve_deferred(env, deferred, value);
}

/*
 * Runs before the threadsafe function's own hook, because it was added after it (hooks run last in, first out): all
 * threads are joined here, so none can post to a function that is gone. What they posted before is freed with env NULL.
 */
static void on_environment_end(void *arg) {
  struct weft *weft = arg;
  weft->ended = true;
  monitors_end(weft);
  datagrams_end(weft);
  execs_end(weft);
  sockets_end(weft);
  netns_fds_end(weft);
  napi_release_threadsafe_function(weft->loop, napi_tsfn_release);
}

static void on_instance_data_end(napi_env env, void *arg, void *hint) {
  (void)env;
  (void)hint;
  weft_unref(arg);
}

static bool start_environment(napi_env env) {
  struct weft *weft = calloc(1, sizeof *weft);
  if (!weft) return false;
  weft->env = env;
  weft->refs = 1;
  if (napi_create_threadsafe_function(env, NULL, NULL, js_string(env, "weft"), 0, 1, NULL, NULL, NULL, settle_on_loop,
                                      &weft->loop) != napi_ok) {
    free(weft);
    return false;
  }
  napi_unref_threadsafe_function(env, weft->loop);
  napi_set_instance_data(env, weft, on_instance_data_end, NULL);
  napi_add_env_cleanup_hook(env, on_environment_end, weft);
  return true;
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback body;
  } functions[] = {
      {"netnsCreate", netns_create},
      {"netnsDelete", netns_delete},
      {"netnsOpen", netns_open},
      {"netnsOpenPid", netns_open_pid},
      {"netnsIdentity", netns_identity},
      {"closeFd", close_fd},
      {"mountShared", mount_shared},
      {"unmount", unmount},
      {"nlOpen", nl_open},
      {"nlPortId", nl_port_id},
      {"nlClose", nl_close},
      {"nlTransact", nl_transact},
      {"nlTransactSync", nl_transact_sync},
      {"monitorStart", monitor_start},
      {"monitorAdd", monitor_add},
      {"monitorRemove", monitor_remove},
      {"monitorIgnore", monitor_ignore},
      {"monitorStop", monitor_stop},
      {"datagramsStart", datagrams_start},
      {"datagramsAdd", datagrams_add},
      {"datagramsRemove", datagrams_remove},
      {"datagramsCounts", datagrams_counts},
      {"datagramsSend", datagrams_send},
      {"datagramsStream", datagrams_stream},
      {"datagramsKeep", datagrams_keep},
      {"datagramsForget", datagrams_forget},
      {"datagramsStop", datagrams_stop},
      {"exec", exec_program},
      {"socketOpen", socket_open},
      {"packetOpen", packet_open},
      {"packetSend", packet_send},
      {"sysctlRead", sysctl_read},
      {"sysctlWrite", sysctl_write},
      {"xtGetInfo", xt_get_info},
      {"peerCred", peer_cred},
      {"sdNotify", sd_notify},
  };
#ifdef __GLIBC__
  /* Once a large block was freed, glibc raises this up to 32 MiB, and what netlink messages and the text of a load took
   * stays in the process between smaller blocks: 30 MiB with 50,000 peers. Set, it stays at its default. */
  mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
  if (!start_environment(env)) {
    napi_throw_error(env, "ENOMEM", "weft.node: cannot start");
    return NULL;
  }
  for (size_t i = 0; i < COUNT(functions); i++) {
    napi_value function = NULL;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].body, NULL, &function);
    set_prop(env, exports, functions[i].name, function);
  }
  return exports;
}
