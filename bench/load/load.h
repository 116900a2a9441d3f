/* The load client, in parts: load.c opens and reads, parse.c finds the messages in the bytes and whether each came whole, tally.c keeps
   the ledger. tls.c is there where WITH_TLS is defined. */
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

enum phase { CLOSED, CONNECTING, SHAKING, HEAD, BODY };
enum framing { PLAIN, CHUNKED, WEBSOCKET };

struct stream {
  int fd;
  uint32_t index; /* which line of the file of requests */
  uint8_t phase, framing, part, live;
  uint8_t is_sync, is_torn;  /* of the event under way */
  uint8_t complete;          /* of the last sync */
  uint64_t left;             /* bytes that the chunk or the WebSocket frame still has */
  char *carry;               /* a line, a head or a WebSocket message that has not come whole yet */
  uint32_t carried, room;
  int64_t n, t;              /* of the event under way; n is -1 when it is none of ours */
  char id[32];               /* of the event under way */
  uint8_t *seen;             /* one bit a message */
  uint32_t seen_bytes;
  int64_t last;
  uint64_t down_us, retry_us; /* since when it is not live; when to try again */
  void *tls;                 /* OpenSSL's; NULL without TLS */
  uint8_t frame_head[9], frame_have, frame_start[8], frame_got; /* HTTP/2: the frame under way */
  uint32_t frame_left;
  char past[32];             /* of the last whole event: Last-Event-ID of the next connection */
};

struct request { int port; char *path, *headers; };

/* requests.c */
void fail(const char *what);
void read_requests(const char *path);
size_t write_request(char *text, size_t room, const struct request *r, const char *last_event_id);
extern struct request *requests;
extern size_t total;

/* load.c */
void went_live(struct stream *s);
void answer(struct stream *s, const char *text, size_t length);
uint64_t now_us(void);
extern int live_on_sync;
extern size_t payload_bytes;
extern uint64_t read_at_us;

/* wait.c */
int wait_for(int poller, struct epoll_event *events, int most, int timeout_ms);
extern uint64_t awake_us; /* CPU of waiting awake, since the last reset */

/* parse.c: returns 0, or -1 when the stream is of no use (refused, or not understood). */
int feed(struct stream *s, char *bytes, size_t length);
void body_begins(struct stream *s);
void body(struct stream *s, const char *bytes, size_t length);

/* tls.c */
void tls_start(int h2);
void tls_begin(struct stream *s);
void tls_end(struct stream *s);
int tls_shake(struct stream *s);
ssize_t tls_read(struct stream *s, char *bytes, size_t room);
ssize_t tls_write(struct stream *s, const char *bytes, size_t length);
size_t h2_request(char *text, size_t room);
int h2_feed(struct stream *s, char *bytes, size_t length);

/* tally.c */
void count_message(struct stream *s, int64_t n, int64_t t_us);
void forget(struct stream *streams, size_t count);
void print_report(struct stream *streams, size_t count, int64_t from, int64_t to);
extern int64_t target;
extern size_t reached;
extern uint64_t bytes_read, pings, refused, ended, syncs, incomplete, torn;
