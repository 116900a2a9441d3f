/* TLS and HTTP/2 for the load client, compiled in where a server with TLS is measured. Certificates are not checked:
   its own machine made them. HTTP/2 (RFC 9113) is as much of it as one event stream a connection needs. */
#define _GNU_SOURCE
#include "load.h"
#include <errno.h>
#include <openssl/ssl.h>
#include <string.h>
#include <strings.h>

enum frame { DATA, HEADERS, RST_STREAM = 3, SETTINGS, PING = 6, GOAWAY };
#define ACK 1
#define END_STREAM 1

static SSL_CTX *context;
static int is_h2;

void tls_start(int h2) {
  is_h2 = h2;
  context = SSL_CTX_new(TLS_client_method());
  if (context == NULL) fail("OpenSSL");
  SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
  /* What it reads ahead it would hold for each of thousands of connections. */
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  const unsigned char *names = (const unsigned char *)(h2 ? "\2h2" : "\10http/1.1");
  SSL_CTX_set_alpn_protos(context, names, h2 ? 3 : 9);
}

void tls_begin(struct stream *s) {
  s->tls = SSL_new(context);
  SSL_set_fd(s->tls, s->fd);
  SSL_set_connect_state(s->tls);
}

void tls_end(struct stream *s) {
  SSL_free(s->tls);
  s->tls = NULL;
  s->frame_have = 0;
}

/* 1: done, 0: not yet, -1: refused. */
int tls_shake(struct stream *s) {
  int done = SSL_do_handshake(s->tls);
  if (done == 1) return 1;
  int why = SSL_get_error(s->tls, done);
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

ssize_t tls_read(struct stream *s, char *bytes, size_t room) {
  int got = SSL_read(s->tls, bytes, (int)room);
  if (got > 0) return got;
  errno = SSL_get_error(s->tls, got) == SSL_ERROR_WANT_READ ? EAGAIN : ECONNRESET;
  return -1;
}

ssize_t tls_write(struct stream *s, const char *bytes, size_t length) {
  return SSL_write(s->tls, bytes, (int)length);
}

static char *put_number(char *to, size_t value) {
  if (value < 127) {
    *to++ = (char)value;
    return to;
  }
  *to++ = 127;
  for (value -= 127; value >= 128; value >>= 7) *to++ = (char)(value & 127) | (char)128;
  *to++ = (char)value;
  return to;
}

static char *put_text(char *to, const char *text, size_t length) {
  to = put_number(to, length);
  memcpy(to, text, length);
  return to + length;
}

static char *put_frame(char *to, size_t length, int type, int flags, int stream) {
  char head[9] = { (char)(length >> 16), (char)(length >> 8), (char)length, (char)type, (char)flags, 0, 0, 0, (char)stream };
  memcpy(to, head, sizeof head);
  return to + sizeof head;
}

/* Preface, our windows wide open, and the request that `text` is in HTTP/1.1; in its place. */
size_t h2_request(char *text, size_t room) {
  char fields[8192], *to = fields, *rest = text;
  char *first = strsep(&rest, "\n"), *path = first + 4;
  path[strcspn(path, " ")] = 0;
  *to++ = (char)0x82; /* :method GET */
  *to++ = (char)0x87; /* :scheme https */
  *to++ = 4; /* :path */
  to = put_text(to, path, strlen(path));
  for (char *line; rest != NULL && (line = strsep(&rest, "\r\n")) != NULL;) {
    char *value = strstr(line, ": ");
    if (value == NULL) continue;
    size_t length = (size_t)(value - line);
    for (size_t i = 0; i < length; i++) line[i] = (char)(line[i] >= 'A' && line[i] <= 'Z' ? line[i] | 32 : line[i]);
    if (length == 4 && memcmp(line, "host", 4) == 0) *to++ = 1; /* :authority */
    else {
      *to++ = 0;
      to = put_text(to, line, length);
    }
    to = put_text(to, value + 2, strlen(value + 2));
  }
  size_t length = (size_t)(to - fields);
  if (length + 128 > room) fail("a request");
  char *out = text;
  memcpy(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
  out = put_frame(out + 24, 12, SETTINGS, 0, 0);
  memcpy(out, "\0\2\0\0\0\0\0\4\x7f\xff\xff\xff", 12); /* no push; the window of a stream */
  out = put_frame(out + 12, 4, 8, 0, 0);
  memcpy(out, "\x7f\xff\0\0", 4);
  out = put_frame(out + 4, length, HEADERS, END_STREAM | 4, 1);
  memcpy(out, fields, length);
  return (size_t)(out + length - text);
}

/* The frame under way has come whole. */
static int frame_done(struct stream *s) {
  int type = s->frame_head[3], flags = s->frame_head[4];
  char answer[17];
  s->frame_have = 0;
  if (type == RST_STREAM || type == GOAWAY || ((type == DATA || type == HEADERS) && (flags & END_STREAM))) return -1;
  if (type == HEADERS && s->phase == HEAD) {
    /* 0x88 is ":status: 200"; a new size of the table may stand before it. */
    if (memchr(s->frame_start, 0x88, sizeof s->frame_start) == NULL) {
      refused++;
      return -1;
    }
    body_begins(s);
  }
  if (type == SETTINGS && !(flags & ACK)) tls_write(s, answer, (size_t)(put_frame(answer, 0, SETTINGS, ACK, 0) - answer));
  if (type == PING && !(flags & ACK)) {
    memcpy(put_frame(answer, 8, PING, ACK, 0), s->frame_start, 8);
    tls_write(s, answer, 17);
  }
  return 0;
}

int h2_feed(struct stream *s, char *bytes, size_t length) {
  if (!is_h2) return feed(s, bytes, length);
  bytes_read += length;
  for (char *end = bytes + length; bytes < end;) {
    if (s->frame_have < 9) {
      s->frame_head[s->frame_have++] = (uint8_t)*bytes++;
      if (s->frame_have < 9) continue;
      s->frame_left = (uint32_t)(s->frame_head[0] << 16 | s->frame_head[1] << 8 | s->frame_head[2]);
      s->frame_got = 0;
    } else {
      size_t have = (size_t)(end - bytes), take = have < s->frame_left ? have : s->frame_left;
      if (s->frame_head[3] == DATA) body(s, bytes, take);
      else for (size_t i = 0; i < take && s->frame_got < sizeof s->frame_start; i++) s->frame_start[s->frame_got++] = (uint8_t)bytes[i];
      bytes += take;
      s->frame_left -= (uint32_t)take;
    }
    if (s->frame_left == 0 && frame_done(s) < 0) return -1;
  }
  return 0;
}
