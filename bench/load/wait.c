/* Waiting for something to read, without making those who write pay for waking us. */
#include "load.h"
#include <sched.h>
#include <time.h>

/* How long it stays awake with nothing to read. */
#define AWAKE_US 200

uint64_t awake_us;

static uint64_t cpu_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* What is there to read. A sleeper is woken by the process that writes to it, at that one's cost, and the slower the
   server the more often its client has gone to sleep. That would be a measure of our naps; so it looks again for a
   moment, and lets others run. */
int wait_for(int poller, struct epoll_event *events, int most, int timeout_ms) {
  int ready = epoll_wait(poller, events, most, 0);
  uint64_t since = ready == 0 ? cpu_us() : 0;
  for (uint64_t until = now_us() + AWAKE_US; ready == 0 && now_us() < until; ready = epoll_wait(poller, events, most, 0)) sched_yield();
  if (since != 0) awake_us += cpu_us() - since;
  return ready != 0 ? ready : epoll_wait(poller, events, most, timeout_ms);
}
