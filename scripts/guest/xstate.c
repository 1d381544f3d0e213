/*
 * Preloaded into linux.uml: lets a 6.1 guest kernel run on processors with AMX.
 *
 * The guest kernel keeps a process's extended state in 2696 bytes, up to PKRU. The host takes nothing but all of it
 * (EFAULT, and the guest panics), and with AMX that is 11008 bytes. The rest is filled with "in its initial state":
 * tile registers are of no use to a guest, whose processes never ask for them.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROOM (64 * 1024)
/* Of the XSAVE header (Intel SDM volume 1, 13.4.2): which components are not in their initial state. */
#define XSTATE_BV 512
/* x87 to PKRU, bits 0 to 9: all that lies below the 2696 bytes. */
#define KNOWN 0x3ffull

static uint8_t whole[ROOM];

static long set_whole(pid_t pid, void *what, const struct iovec *given) {
  struct iovec all = {whole, ROOM};
  uint64_t components;
  if (given->iov_len < XSTATE_BV + sizeof components || given->iov_len > ROOM) return -1;
  if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, what, &all) || all.iov_len <= given->iov_len) return -1;
  memcpy(whole, given->iov_base, given->iov_len);
  memset(whole + given->iov_len, 0, all.iov_len - given->iov_len);
  memcpy(&components, whole + XSTATE_BV, sizeof components);
  components &= KNOWN;
  memcpy(whole + XSTATE_BV, &components, sizeof components);
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, what, &all);
}

/* As glibc's, of which only peeking differs from the system call. */
long ptrace(enum __ptrace_request request, ...) {
  va_list list;
  va_start(list, request);
  pid_t pid = va_arg(list, pid_t);
  void *address = va_arg(list, void *), *data = va_arg(list, void *);
  va_end(list);
  long peeked = 0;
  if (request > 0 && request < 4) data = &peeked;
  long result = syscall(SYS_ptrace, request, pid, address, data);
  if (request > 0 && request < 4) return result ? result : peeked;
  if (result && request == PTRACE_SETREGSET && (uintptr_t)address == NT_X86_XSTATE) return set_whole(pid, address, data);
  return result;
}
