/* Loaded before libc (LD_PRELOAD): moves a process's wall clock, and lets its standard output refuse as a full disk
   does. The monotonic clock stays as it is. Orders are two 64-bit numbers in the file $TAMPER_FILE, which may change at
   any time. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct orders {
  int64_t clock_seconds;
  int64_t output_is_full;
};

static const struct orders none;
static const volatile struct orders *orders = &none;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("TAMPER_FILE");
  int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof *orders, PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) orders = mapped;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += orders->clock_seconds;
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  int result = (int)syscall(SYS_gettimeofday, now, zone);
  if (result == 0 && now != NULL) now->tv_sec += orders->clock_seconds;
  return result;
}

time_t time(time_t *into) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (into != NULL) *into = now.tv_sec;
  return now.tv_sec;
}

static int is_full(int file) {
  if (file != STDOUT_FILENO || orders->output_is_full == 0) return 0;
  errno = ENOSPC;
  return 1;
}

ssize_t write(int file, const void *bytes, size_t length) {
  return is_full(file) ? -1 : syscall(SYS_write, file, bytes, length);
}

ssize_t writev(int file, const struct iovec *pieces, int count) {
  return is_full(file) ? -1 : syscall(SYS_writev, file, pieces, count);
}
