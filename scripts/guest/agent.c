/*
 * agent: process 1 of a test guest. Runs shell scripts for the host over one serial line.
 *
 * Usage: agent TTY. The line carries frames in both directions, all integers little-endian:
 *
 *   u8 type, u32 call, u32 length, length bytes
 *
 *   host to guest   R  script text: run it with /bin/sh -c in a session of its own, stdin from /dev/null
 *                   K  no payload: SIGKILL to the process group of that call
 *   guest to host   H  no payload, call 0: the agent is ready
 *                   S  u32 pid: the call has started; the pid is also its process group
 *                   O  standard output    E  standard error
 *                   X  u32 exit code, 128 + signal where one ended it, 127 where it could not start
 *                   A  call 0, u32 n: n more bytes of the line have been read
 *
 * The host keeps at most 2048 bytes unacknowledged. More than some 3900 unread bytes throttle the guest's tty
 * (N_TTY_BUF_SIZE 4096, TTY_THRESHOLD_THROTTLE 128), and User-Mode Linux 6.1 then stops watching the line for good:
 * line_throttle() takes it out of the poll set, line_unthrottle() does not put it back.
 *
 * A call ends when its shell ends, not when its pipes close: a daemon started by a script keeps running and may hold
 * the pipe. End of file on the line means that the host side is gone: the guest powers off, so that nobody has to
 * look for it. C and not a script, because in a guest every process costs 25 ms and node 700 ms.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define HEADER 9
#define MAX_CALLS 64
#define MAX_FRAME (1u << 20)

struct call {
	uint32_t id;
	pid_t pid; /* 0: free slot */
	int out, err; /* read ends, -1 once closed */
};

static struct call calls[MAX_CALLS];
static int line;
static int wake[2]; /* SIGCHLD writes here, poll() reads */

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = v >> (8 * i);
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void write_all(const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(line, p, n);
		if (w < 0 && errno != EINTR)
			power_off();
		if (w > 0) {
			p += w;
			n -= w;
		}
	}
}

/* One write per frame where it fits: each write is a ptrace stop of some 50 us. */
static void send_frame(uint8_t type, uint32_t id, const void *data, uint32_t n)
{
	static uint8_t frame[HEADER + 65536];

	frame[0] = type;
	put32(frame + 1, id);
	put32(frame + 5, n);
	memcpy(frame + HEADER, data, n);
	write_all(frame, HEADER + n);
}

static void send_u32(uint8_t type, uint32_t id, uint32_t v)
{
	uint8_t b[4];

	put32(b, v);
	send_frame(type, id, b, 4);
}

static void child(const char *script, int out, int err)
{
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	int null = open("/dev/null", O_RDONLY);
	dup2(null, 0);
	dup2(out, 1);
	dup2(err, 2);
	close(null);
	execl("/bin/sh", "sh", "-c", script, (char *)NULL);
	_exit(127);
}

static void start(uint32_t id, const char *script)
{
	struct call *c = calls;
	int out[2], err[2];

	while (c < calls + MAX_CALLS && c->pid)
		c++;
	if (c == calls + MAX_CALLS || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
		static const char text[] = "agent: too many calls at once\n";
		send_frame('E', id, text, sizeof text - 1);
		send_u32('X', id, 127);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		child(script, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	*c = (struct call){ .id = id, .pid = pid, .out = out[0], .err = err[0] };
	if (pid < 0) {
		close(out[0]);
		close(err[0]);
		c->pid = 0;
		send_u32('X', id, 127);
		return;
	}
	send_u32('S', id, pid);
}

/* Forwards what the pipe holds; closes it at end of file. `all`: until it is empty, not one read. */
static void forward(uint8_t type, uint32_t id, int *fd, int all)
{
	static uint8_t chunk[65536];

	while (*fd >= 0) {
		ssize_t n = read(*fd, chunk, sizeof chunk);
		if (n > 0) {
			send_frame(type, id, chunk, n);
			if (!all)
				return;
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		close(*fd);
		*fd = -1;
	}
}

static void finish(struct call *c, int status)
{
	forward('O', c->id, &c->out, 1);
	forward('E', c->id, &c->err, 1);
	if (c->out >= 0)
		close(c->out);
	if (c->err >= 0)
		close(c->err);
	send_u32('X', c->id, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	c->pid = 0;
}

/* Process 1 inherits every orphan of the guest: all are reaped here, those of a call also reported. */
static void reap(void)
{
	int status;
	pid_t pid;
	char byte[64];

	while (read(wake[0], byte, sizeof byte) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (struct call *c = calls; c < calls + MAX_CALLS; c++)
			if (c->pid == pid)
				finish(c, status);
}

static void accept_frame(uint8_t type, uint32_t id, const char *payload)
{
	if (type == 'R')
		start(id, payload);
	else if (type == 'K')
		for (struct call *c = calls; c < calls + MAX_CALLS; c++)
			if (c->pid && c->id == id)
				kill(-c->pid, SIGKILL);
}

static void read_line(void)
{
	static uint8_t in[HEADER + MAX_FRAME + 1];
	static size_t have;
	ssize_t n = read(line, in + have, HEADER + MAX_FRAME - have);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		power_off();
	have += n;
	send_u32('A', 0, n);
	while (have >= HEADER) {
		uint32_t length = get32(in + 5);
		if (length > MAX_FRAME)
			power_off(); /* out of step with the host: nothing that follows can be trusted */
		size_t whole = HEADER + (size_t)length;
		if (have < whole)
			return;
		uint8_t after = in[whole];
		in[whole] = 0;
		accept_frame(in[0], get32(in + 1), (const char *)in + HEADER);
		in[whole] = after;
		memmove(in, in + whole, have - whole);
		have -= whole;
	}
}

static void on_child(int sig)
{
	int saved = errno;

	(void)sig;
	(void)!write(wake[1], "", 1);
	errno = saved;
}

static void open_line(const char *path)
{
	struct termios raw;

	line = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line < 0 || tcgetattr(line, &raw))
		power_off();
	cfmakeraw(&raw);
	tcsetattr(line, TCSANOW, &raw);
}

int main(int argc, char **argv)
{
	static struct pollfd fds[2 + 2 * MAX_CALLS];

	if (argc != 2)
		return 2;
	open_line(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	if (pipe2(wake, O_CLOEXEC | O_NONBLOCK))
		power_off();
	struct sigaction sa = { .sa_handler = on_child, .sa_flags = SA_RESTART };
	sigaction(SIGCHLD, &sa, NULL);
	send_frame('H', 0, "", 0);

	for (;;) {
		fds[0] = (struct pollfd){ .fd = line, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = wake[0], .events = POLLIN };
		for (int i = 0; i < MAX_CALLS; i++) {
			struct call *c = &calls[i];
			fds[2 + 2 * i] = (struct pollfd){ .fd = c->pid ? c->out : -1, .events = POLLIN };
			fds[3 + 2 * i] = (struct pollfd){ .fd = c->pid ? c->err : -1, .events = POLLIN };
		}
		if (poll(fds, 2 + 2 * MAX_CALLS, -1) < 0)
			continue;
		for (int i = 0; i < MAX_CALLS; i++) {
			if (fds[2 + 2 * i].revents)
				forward('O', calls[i].id, &calls[i].out, 0);
			if (fds[3 + 2 * i].revents)
				forward('E', calls[i].id, &calls[i].err, 0);
		}
		if (fds[1].revents)
			reap();
		if (fds[0].revents)
			read_line();
	}
}
