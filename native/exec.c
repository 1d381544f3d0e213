#include "weft.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Programs in a namespace. Each runs under a thread of its own that has entered the namespace, so the child is born in
 * it: posix_spawn (vfork and exec) copies no page tables, however large the agent is. The thread stays for the pipes and
 * the timeout, and ends with the program.
 */

extern char **environ;

/* More output than this is a runaway program: `iptables-save` of 100,000 rules is 10 MiB. */
#define OUTPUT_MAX (256 << 20)
#define READ_BYTES (64 << 10)

enum { IN, OUT, ERR, EXITED, STOP, FD_COUNT };

struct exec_job {
  struct job job;
  struct exec_job *next;
  struct weft *weft;
  napi_deferred deferred;
  pthread_t thread;
  int netns_fd, stop_fd; /* stop_fd becomes readable when the environment ends */
  char **argv, **env;
  bool has_stdin;
  struct bytes input, output[2];
  size_t input_done;
  int timeout_ms;
  int err, status; /* status as waitpid(2) gives it, where err is 0 */
};

static void close_one(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* ---- the thread ---- */

/* ours[i] and theirs[i] are the two ends for descriptor i of the child. All are close-on-exec; only ours never block. */
static int open_pipes(const struct exec_job *job, int *ours, int *theirs) {
  for (int i = IN; i <= ERR; i++) {
    int ends[2];
    if (i == IN && !job->has_stdin) {
      theirs[IN] = open("/dev/null", O_RDONLY | O_CLOEXEC);
      if (theirs[IN] < 0) return errno;
      continue;
    }
    if (pipe2(ends, O_CLOEXEC)) return errno;
    ours[i] = ends[i == IN];
    theirs[i] = ends[i != IN];
    if (fcntl(ours[i], F_SETFL, O_NONBLOCK)) return errno;
  }
  return 0;
}

/* Default signal actions, an empty mask, a process group of its own, and no descriptor but 0, 1 and 2. */
static int spawn(const struct exec_job *job, const int *theirs, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  sigset_t set;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attr);
  int err = 0;
  for (int i = IN; !err && i <= ERR; i++) err = posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
  /* Not only close-on-exec: node marks just the first of the descriptors that it has itself inherited. */
  if (!err) err = posix_spawn_file_actions_addclosefrom_np(&actions, ERR + 1);
  sigfillset(&set);
  posix_spawnattr_setsigdefault(&attr, &set);
  sigemptyset(&set);
  posix_spawnattr_setsigmask(&attr, &set);
  posix_spawnattr_setpgroup(&attr, 0);
  posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  if (!err) err = posix_spawnp(pid, job->argv[0], &actions, &attr, job->argv, job->env);
  posix_spawnattr_destroy(&attr);
  posix_spawn_file_actions_destroy(&actions);
  return err;
}

static int feed(struct exec_job *job, int *fd) {
  while (job->input_done < job->input.len) {
    ssize_t n = write(*fd, job->input.at + job->input_done, job->input.len - job->input_done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return 0;
    if (n < 0) break; /* EPIPE: the program does not want the rest (SIGPIPE is blocked in this thread) */
    job->input_done += (size_t)n;
  }
  close_one(fd);
  return 0;
}

static int read_output(struct bytes *into, int *fd) {
  while (*fd >= 0) {
    if (into->len > OUTPUT_MAX) return EFBIG;
    if (!bytes_reserve(into, READ_BYTES)) return ENOMEM;
    ssize_t n = read(*fd, into->at + into->len, READ_BYTES);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) close_one(fd);
    else into->len += (size_t)n;
  }
  return 0;
}

/* Until the program has ended (a child of it that lives on and keeps the pipes is not waited for) or the time is up. */
static int serve(struct exec_job *job, int *ours, int pidfd) {
  int64_t deadline = monotonic_ms() + job->timeout_ms;
  for (;;) {
    struct pollfd fds[FD_COUNT] = {
        [IN] = {.fd = ours[IN], .events = POLLOUT},  [OUT] = {.fd = ours[OUT], .events = POLLIN},
        [ERR] = {.fd = ours[ERR], .events = POLLIN}, [EXITED] = {.fd = pidfd, .events = POLLIN},
        [STOP] = {.fd = job->stop_fd, .events = POLLIN},
    };
    int left = wait_ms(deadline);
    if (poll(fds, FD_COUNT, left) < 0 && errno != EINTR) return errno;
    if (fds[STOP].revents) return ECANCELED;
    int err = fds[IN].revents ? feed(job, &ours[IN]) : 0;
    for (int i = OUT; !err && i <= ERR; i++) {
      if (fds[i].revents || fds[EXITED].revents) err = read_output(&job->output[i - OUT], &ours[i]);
    }
    if (err || fds[EXITED].revents) return err;
    if (left == 0) return ETIMEDOUT;
  }
}

static int run(struct exec_job *job, int *ours, int *theirs) {
  pid_t pid = 0;
  int err = enter_namespaces(job->netns_fd, -1);
  if (!err) err = open_pipes(job, ours, theirs);
  if (!err) err = spawn(job, theirs, &pid);
  for (int i = IN; i <= ERR; i++) close_one(&theirs[i]);
  if (err) return err;
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  err = pidfd < 0 ? errno : serve(job, ours, pidfd);
  if (err) kill(-pid, SIGKILL);
  /* Nobody else reaps it: libuv waits for the pids it has started only. */
  while (waitpid(pid, &job->status, 0) < 0 && errno == EINTR) {
  }
  close_one(&pidfd);
  return err;
}

static void *exec_body(void *arg) {
  struct exec_job *job = arg;
  int ours[] = {-1, -1, -1}, theirs[] = {-1, -1, -1};
  job->err = run(job, ours, theirs);
  for (int i = IN; i <= ERR; i++) {
    close_one(&ours[i]);
    close_one(&theirs[i]);
  }
  close_one(&job->netns_fd);
  post_job(job->weft, &job->job);
  return NULL;
}

/* ---- the loop ---- */

static void free_strings(char **list) {
  for (char **at = list; list && *at; at++) free(*at);
  free(list);
}

static void free_exec(struct exec_job *job) {
  close_one(&job->netns_fd);
  close_one(&job->stop_fd);
  free_strings(job->argv);
  free_strings(job->env);
  bytes_free(&job->input);
  bytes_free(&job->output[0]);
  bytes_free(&job->output[1]);
  free(job);
}

/* Out of the list of those that run, its thread joined. */
static void leave_list(struct exec_job *job) {
  for (struct exec_job **at = &job->weft->execs; *at; at = &(*at)->next) {
    if (*at != job) continue;
    *at = job->next;
    pthread_join(job->thread, NULL);
    return;
  }
}

static napi_value js_outcome(napi_env env, const struct exec_job *job) {
  napi_value outcome = NULL, none = NULL;
  bool exited = WIFEXITED(job->status);
  napi_create_object(env, &outcome);
  napi_get_null(env, &none);
  set_prop(env, outcome, "code", exited ? js_int(env, WEXITSTATUS(job->status)) : none);
  set_prop(env, outcome, "signal", exited ? none : js_int(env, WTERMSIG(job->status)));
  set_prop(env, outcome, "stdout", js_buffer(env, job->output[0].at, job->output[0].len));
  set_prop(env, outcome, "stderr", js_buffer(env, job->output[1].at, job->output[1].len));
  return outcome;
}

static void settle_exec(napi_env env, struct job *base) {
  struct exec_job *job = (struct exec_job *)base;
  leave_list(job);
  if (env) {
    napi_value error = job->err ? errno_error(env, job->err, "exec", job->argv[0]) : NULL;
    settle_promise(env, job->weft, job->deferred, error ? NULL : js_outcome(env, job), error);
  }
  free_exec(job);
}

/* Kills what runs. The jobs were posted by their threads and are freed with the queue. */
void execs_end(struct weft *weft) {
  uint64_t one = 1;
  for (struct exec_job *job = weft->execs; job; job = job->next) {
    if (write(job->stop_fd, &one, sizeof one) < 0) continue; /* full, so readable */
  }
  while (weft->execs) leave_list(weft->execs);
}

static char **arg_argv(struct call *call, size_t i) {
  uint32_t count = 0;
  if (!arg_array(call, i, "argv", &count)) return NULL;
  if (count == 0) return throw_invalid(call, "argv must name a program"), NULL;
  char **list = calloc((size_t)count + 1, sizeof *list);
  if (!list) return throw_errno(call, ENOMEM, NULL), NULL;
  for (uint32_t k = 0; k < count; k++) {
    napi_value item = NULL;
    napi_get_element(call->env, call->argv[i], k, &item);
    if (!value_string(call, item, "each of argv", &list[k])) return free_strings(list), NULL;
  }
  return list;
}

/* "NAME=value" from one property; a name with '=' in it would set another variable. */
static char *env_entry(struct call *call, napi_value env_object, napi_value key) {
  char *name = NULL, *value = NULL, *entry = NULL;
  napi_value item = NULL;
  if (!value_string(call, key, "a variable's name", &name)) return NULL;
  napi_get_property(call->env, env_object, key, &item);
  if (!*name || strchr(name, '=')) throw_invalid(call, "a variable's name must not be empty or contain '='");
  else if (value_string(call, item, "a variable's value", &value) && asprintf(&entry, "%s=%s", name, value) < 0) {
    entry = NULL;
    throw_errno(call, ENOMEM, NULL);
  }
  free(name);
  free(value);
  return entry;
}

static char **own_environment(struct call *call) {
  size_t count = 0;
  while (environ && environ[count]) count++;
  char **list = calloc(count + 1, sizeof *list);
  for (size_t i = 0; list && i < count; i++) {
    if ((list[i] = strdup(environ[i]))) continue;
    free_strings(list);
    list = NULL;
  }
  if (!list) throw_errno(call, ENOMEM, NULL);
  return list;
}

static char **arg_env(struct call *call, size_t i) {
  napi_value keys = NULL;
  uint32_t count = 0;
  if (arg_absent(call, i)) return own_environment(call);
  if (napi_get_property_names(call->env, call->argv[i], &keys) != napi_ok) {
    return throw_invalid(call, "env must be an object"), NULL;
  }
  napi_get_array_length(call->env, keys, &count);
  char **list = calloc((size_t)count + 1, sizeof *list);
  if (!list) return throw_errno(call, ENOMEM, NULL), NULL;
  for (uint32_t k = 0; k < count; k++) {
    napi_value key = NULL;
    napi_get_element(call->env, keys, k, &key);
    if (!(list[k] = env_entry(call, call->argv[i], key))) return free_strings(list), NULL;
  }
  return list;
}

static bool fill_exec(struct call *call, struct exec_job *job) {
  const uint8_t *input = NULL;
  size_t len = 0;
  int netns_fd = -1;
  int64_t timeout = 0;
  if (!arg_fd(call, 0, "netnsFd", true, &netns_fd) || !arg_int(call, 4, "timeoutMs", 1, INT_MAX, &timeout)) return false;
  job->has_stdin = !arg_absent(call, 2);
  if (job->has_stdin && !arg_bytes(call, 2, "stdin", &input, &len)) return false;
  if (!(job->argv = arg_argv(call, 1)) || !(job->env = arg_env(call, 3))) return false;
  if (!bytes_append(&job->input, input, len)) return throw_errno(call, ENOMEM, NULL), false;
  /* A copy: the caller may close its own before the thread has entered. */
  if (netns_fd >= 0 && (job->netns_fd = fcntl(netns_fd, F_DUPFD_CLOEXEC, 3)) < 0) {
    return throw_errno(call, errno, "netnsFd"), false;
  }
  if ((job->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) return throw_errno(call, errno, NULL), false;
  job->timeout_ms = (int)timeout;
  return true;
}

napi_value exec_program(napi_env env, napi_callback_info cbinfo) {
  struct call call;
  if (!call_begin(env, cbinfo, "exec", &call)) return NULL;
  struct exec_job *job = calloc(1, sizeof *job);
  if (!job) return throw_errno(&call, ENOMEM, NULL);
  *job = (struct exec_job){.job.settle = settle_exec, .weft = call.weft, .netns_fd = -1, .stop_fd = -1};
  napi_value promise = fill_exec(&call, job) ? new_promise(env, call.weft, &job->deferred) : NULL;
  if (!promise) {
    free_exec(job);
    return NULL;
  }
  int err = start_thread(&job->thread, exec_body, job);
  if (err) {
    job->err = err;
    settle_exec(env, &job->job);
    return promise;
  }
  job->next = call.weft->execs;
  call.weft->execs = job;
  return promise;
}
