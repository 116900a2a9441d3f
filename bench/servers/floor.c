/* The floor: what the kernel takes for the deliveries. A bare loop of write() over raw sockets, one thread, no names,
   no checks.

   floor            listens on a free port of 127.0.0.1 and prints it; each line on stdin is a message for every stream */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_STREAMS 100000
#define IN_BYTES 65536

static int streams[MAX_STREAMS], place[MAX_STREAMS + 64], count, poller;
static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n";

static void watch(int fd) {
  struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void leave(int fd) {
  if (place[fd] > 0) {
    int last = streams[--count];
    streams[place[fd] - 1] = last;
    place[last] = place[fd];
    place[fd] = 0;
  }
  close(fd);
}

static void request(int fd) {
  char bytes[16384];
  ssize_t got = read(fd, bytes, sizeof bytes);
  if (got <= 0) leave(fd);
  else if (place[fd] == 0 && count < MAX_STREAMS && write(fd, HEAD, sizeof HEAD - 1) > 0) {
    streams[count++] = fd;
    place[fd] = count;
  }
}

static void send_all(const char *bytes, size_t length) {
  for (int i = 0; i < count; i++) {
    for (size_t sent = 0; sent < length;) {
      ssize_t wrote = write(streams[i], bytes + sent, length - sent);
      if (wrote > 0) sent += (size_t)wrote;
      else if (wrote < 0 && errno == EAGAIN) poll(&(struct pollfd){ .fd = streams[i], .events = POLLOUT }, 1, 1000);
      else break;
    }
  }
}

/* What one read brings is one write a stream. */
static void messages(void) {
  static char in[IN_BYTES], out[IN_BYTES * 4];
  static size_t have;
  ssize_t got = read(0, in + have, sizeof in - have);
  if (got <= 0) exit(0);
  have += (size_t)got;
  size_t used = 0, length = 0;
  for (char *newline; (newline = memchr(in + used, '\n', have - used)) != NULL;) {
    size_t size = (size_t)(newline - in) - used;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    char event[IN_BYTES];
    int bytes = snprintf(event, sizeof event, "id: %ld%06ld\ndata: %.*s\n\n", t.tv_sec, t.tv_nsec / 1000, (int)size, in + used);
    length += (size_t)snprintf(out + length, sizeof out - length, "%x\r\n%s\r\n", (unsigned)bytes, event);
    used += size + 1;
  }
  memmove(in, in + used, have -= used);
  if (length > 0) send_all(out, length);
}

int main(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  poller = epoll_create1(EPOLL_CLOEXEC);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
  struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  socklen_t size = sizeof at;
  if (bind(listener, (struct sockaddr *)&at, size) < 0 || listen(listener, 4096) < 0) return perror("floor"), 1;
  getsockname(listener, (struct sockaddr *)&at, &size);
  watch(0);
  watch(listener);
  printf("listening on %d\n", ntohs(at.sin_port));
  fflush(stdout);
  for (;;) {
    static struct epoll_event events[1024];
    int ready = epoll_wait(poller, events, 1024, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd == 0) messages();
      else if (fd != listener) request(fd);
      else {
        for (int got; (got = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
          setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
          watch(got);
        }
      }
    }
  }
}
