/* The load client: opens many event streams from a file of requests and counts what arrives. Commands on stdin, answers
   on stdout.

   load <file of requests> <bytes of a payload> [sync|head] [tls|h2]
   sync: a stream is live at its first "event: sync", else when its head has come
   A line of the file: port TAB path [TAB header]…

   open <at once>           opens all, that many under way at a time      → {"is":"open",…}
   reset                    forgets what was counted                      → {"is":"reset"}
   reach <n>                answers when every stream has received n      → {"is":"reached"}
   report <from> <to>       what was received of these numbers            → {"is":"report",…}
   follow <port>…           from now on, a stream that ends reconnects there at once with Last-Event-ID
   again                    answers when no stream is down any more       → {"is":"again",…}
   churn <count> <at once>  that many times connect, go live, disconnect  → {"is":"churned",…}
   close                    closes all                                    → {"is":"closed"}
   It ends at the end of stdin, and with its parent. */
#define _GNU_SOURCE
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

#define READ_BYTES (1 << 20)
#define RETRY_US 100000

int live_on_sync;
size_t payload_bytes;
uint64_t read_at_us;
static struct stream *streams;
static size_t next_to_open, wanted, under_way, at_once, live, failed, gone_at_once;
static uint64_t started_us, first_down_us, retries;
static int with_tls, with_h2;
static int poller, follow[16], follows, opening, churns, waiting_again;
static size_t down, churn_left, churning;
static double *down_ms;
static size_t downs;

uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void begin(struct stream *s, int port) {
  s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (s->fd < 0) fail("socket (is ulimit -n too small?)");
  int yes = 1;
  setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  /* Many client addresses, or the ports of one would run out. */
  setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
  static unsigned turn;
  struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000102 + (turn++ % 240)) };
  if (bind(s->fd, (struct sockaddr *)&from, sizeof from) < 0) fail("bind");
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  if (connect(s->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) fail("connect");
  struct epoll_event event = { .events = EPOLLOUT, .data.ptr = s };
  epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &event);
  s->phase = CONNECTING;
  under_way++;
}

static void say_open(void) {
  opening = 0;
  printf("{\"is\":\"open\",\"live\":%zu,\"failed\":%zu,\"ms\":%.1f}\n", live, failed, (now_us() - started_us) / 1e3);
}

static void open_more(void) {
  while (next_to_open < wanted && under_way < at_once) {
    struct stream *s = &streams[next_to_open++];
    begin(s, requests[s->index].port);
  }
  if (opening && next_to_open == wanted && under_way == 0) say_open();
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void say_again(void) {
  waiting_again = 0;
  qsort(down_ms, downs, sizeof *down_ms, by_size);
  printf("{\"is\":\"again\",\"streams\":%zu,\"ms\":%.1f,\"p50\":%.1f,\"p99\":%.1f,\"retries\":%lu}\n", downs,
         downs ? (now_us() - first_down_us) / 1e3 : 0, downs ? down_ms[downs / 2] : 0, downs ? down_ms[downs * 99 / 100] : 0, retries);
}

static void shut(struct stream *s) {
#ifdef WITH_TLS
  if (s->tls != NULL) tls_end(s);
#endif
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
  if (s->phase == CONNECTING || s->phase == SHAKING || s->phase == HEAD || (s->phase == BODY && !s->live)) under_way--;
  if (s->live) live--;
  s->live = 0;
  s->phase = CLOSED;
  s->carried = 0;
  s->is_sync = 0;
  s->n = -1;
  s->id[0] = 0;
}

static void churn_more(void) {
  while (churn_left > 0 && under_way < at_once && streams[churning].phase == CLOSED) {
    churn_left--;
    begin(&streams[churning], requests[churning].port);
    churning = (churning + 1) % total;
  }
  if (churn_left == 0 && under_way == 0) {
    printf("{\"is\":\"churned\",\"failed\":%zu,\"ms\":%.1f}\n", failed, (now_us() - started_us) / 1e3);
    churns = 0;
  }
}

void went_live(struct stream *s) {
  s->live = 1;
  live++;
  under_way--;
  if (s->down_us != 0) {
    down_ms[downs++] = (now_us() - s->down_us) / 1e3;
    s->down_us = 0;
    down--;
  }
}

static void lost(struct stream *s) {
  int was_live = s->live;
  shut(s);
  if (was_live) ended++;
  if (follows > 0) {
    if (s->down_us == 0) {
      s->down_us = now_us();
      if (downs == 0 && down == 0) first_down_us = s->down_us;
      down++;
      begin(s, follow[s->index % (unsigned)follows]);
    } else {
      retries++;
      s->retry_us = now_us() + RETRY_US;
      gone_at_once++;
    }
  } else if (!was_live) failed++;
}

void answer(struct stream *s, const char *text, size_t length) {
  /* A client masks (RFC 6455, 5.3); with the mask 0 the bytes stay as they are. */
  char frame[16] = { (char)0x81, (char)(0x80 | length), 0, 0, 0, 0 };
  memcpy(frame + 6, text, length);
  if (send(s->fd, frame, 6 + length, MSG_NOSIGNAL) < 0) fail("send");
}

static ssize_t tell(struct stream *s, const char *text, size_t length) {
#ifdef WITH_TLS
  if (s->tls != NULL) return tls_write(s, text, length);
#endif
  return send(s->fd, text, length, MSG_NOSIGNAL);
}

static ssize_t hear(struct stream *s, char *bytes, size_t room) {
#ifdef WITH_TLS
  if (s->tls != NULL) return tls_read(s, bytes, room);
#endif
  return recv(s->fd, bytes, room, 0);
}

static int understand(struct stream *s, char *bytes, size_t length) {
#ifdef WITH_TLS
  if (s->tls != NULL) return h2_feed(s, bytes, length);
#endif
  return feed(s, bytes, length);
}

static void ask(struct stream *s) {
  char text[8192];
  size_t length = write_request(text, sizeof text, &requests[s->index], s->down_us ? s->past : "");
#ifdef WITH_TLS
  if (with_h2) length = h2_request(text, sizeof text);
#endif
  if (tell(s, text, length) != (ssize_t)length) {
    lost(s);
    return;
  }
  s->phase = HEAD;
}

static void shake(struct stream *s) {
#ifdef WITH_TLS
  int done = tls_shake(s);
  if (done < 0) lost(s);
  else if (done > 0) ask(s);
#else
  (void)s;
#endif
}

static void say_hello(struct stream *s) {
  int fault = 0;
  socklen_t size = sizeof fault;
  getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &fault, &size);
  if (fault != 0) {
    lost(s);
    return;
  }
  struct epoll_event event = { .events = EPOLLIN, .data.ptr = s };
  epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &event);
#ifdef WITH_TLS
  if (with_tls) {
    tls_begin(s);
    s->phase = SHAKING;
    shake(s);
    return;
  }
#endif
  ask(s);
}

static void take(struct stream *s) {
  static char bytes[READ_BYTES];
  /* Of TLS one record comes at a time, and what it has read already nobody is told of. */
  do {
    ssize_t got = hear(s, bytes, sizeof bytes);
    if (got < 0 && errno == EAGAIN) return;
    read_at_us = now_us();
    if (got <= 0 || understand(s, bytes, (size_t)got) < 0) {
      lost(s);
      return;
    }
    if (churns && s->live) shut(s);
  } while (s->tls != NULL);
}

static void retry(void) {
  uint64_t now = now_us();
  for (size_t i = 0; gone_at_once > 0 && i < total; i++) {
    struct stream *s = &streams[i];
    if (s->retry_us == 0 || s->retry_us > now) continue;
    s->retry_us = 0;
    gone_at_once--;
    if (follows > 0) begin(s, follow[s->index % (unsigned)follows]);
  }
}

static void command(char *text) {
  long a = 0, b = 0;
  char word[16] = "";
  sscanf(text, "%15s %ld %ld", word, &a, &b);
  started_us = now_us();
  if (strcmp(word, "open") == 0) {
    at_once = (size_t)a;
    wanted = total;
    opening = 1;
  } else if (strcmp(word, "reset") == 0) {
    forget(streams, total);
    reached = 0;
    awake_us = 0;
    printf("{\"is\":\"reset\"}\n");
  } else if (strcmp(word, "reach") == 0) {
    target = a;
    reached = 0;
    for (size_t i = 0; i < total; i++) reached += streams[i].last >= a;
  } else if (strcmp(word, "report") == 0) print_report(streams, total, a, b);
  else if (strcmp(word, "follow") == 0) {
    follows = 0;
    strtok(text, " ");
    for (char *port; follows < 16 && (port = strtok(NULL, " ")) != NULL;) follow[follows++] = atoi(port);
    downs = down = 0;
  } else if (strcmp(word, "again") == 0) waiting_again = 1;
  else if (strcmp(word, "churn") == 0) {
    churn_left = (size_t)a;
    at_once = (size_t)b;
    failed = 0;
    churns = 1;
  } else if (strcmp(word, "close") == 0) {
    follows = 0;
    for (size_t i = 0; i < total; i++) if (streams[i].phase != CLOSED) shut(&streams[i]);
    printf("{\"is\":\"closed\"}\n");
  }
}

static void commands(void) {
  static char text[4096];
  static size_t have;
  ssize_t got = read(0, text + have, sizeof text - have - 1);
  if (got <= 0) exit(0);
  have += (size_t)got;
  for (char *newline; (newline = memchr(text, '\n', have)) != NULL;) {
    *newline = 0;
    size_t used = (size_t)(newline + 1 - text);
    char copy[4096];
    memcpy(copy, text, used);
    memmove(text, text + used, have -= used);
    command(copy);
  }
}

int main(int count, char **words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (count < 3) return fprintf(stderr, "usage: load <file of requests> <bytes of a payload> [sync]\n"), 2;
  payload_bytes = (size_t)atol(words[2]);
  live_on_sync = count > 3 && strcmp(words[3], "sync") == 0;
  with_h2 = count > 4 && strcmp(words[4], "h2") == 0;
  with_tls = with_h2 || (count > 4 && strcmp(words[4], "tls") == 0);
#ifdef WITH_TLS
  if (with_tls) tls_start(with_h2);
#else
  if (with_tls) return fprintf(stderr, "load: compiled without TLS\n"), 2;
#endif
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  setvbuf(stdout, NULL, _IOLBF, 0);
  read_requests(words[1]);
  streams = calloc(total, sizeof *streams);
  down_ms = calloc(total + 1, sizeof *down_ms);
  for (size_t i = 0; i < total; i++) streams[i] = (struct stream){ .fd = -1, .index = (uint32_t)i, .n = -1, .last = -1 };
  poller = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
  epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
  printf("{\"is\":\"ready\",\"streams\":%zu}\n", total);
  for (;;) {
    static struct epoll_event events[1024];
    int ready = wait_for(poller, events, 1024, gone_at_once > 0 ? 20 : -1);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < ready; i++) {
      struct stream *s = events[i].data.ptr;
      if (s == NULL) commands();
      else if (s->phase == CONNECTING) say_hello(s);
      else if (s->phase == SHAKING) shake(s);
      else if (s->phase != CLOSED) take(s);
    }
    if (opening) open_more();
    else if (churns) churn_more();
    if (gone_at_once > 0) retry();
    if (target >= 0 && reached == total) {
      printf("{\"is\":\"reached\"}\n");
      target = -1;
    }
    if (waiting_again && down == 0) say_again();
  }
}
