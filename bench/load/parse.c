/*
 * From bytes to messages: an HTTP/1.1 head, chunks (RFC 9112), event streams (WHATWG HTML 9.2), Socket.IO on WebSocket
 * frames.
 */
#define _GNU_SOURCE
#include "load.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void keep(struct stream *s, const char *bytes, size_t length) {
  if (s->carried + length > s->room) {
    s->room = (uint32_t)(s->carried + length) * 2;
    s->carry = realloc(s->carry, s->room);
  }
  memcpy(s->carry + s->carried, bytes, length);
  s->carried += (uint32_t)length;
}

static int64_t number(const char **at, const char *end) {
  int64_t value = 0;
  const char *p = *at;
  while (p < end && *p >= '0' && *p <= '9') value = value * 10 + (*p++ - '0');
  *at = p;
  return value;
}

/*
 * Our payloads begin {"n":<number>,"t":<microseconds>, end "} and all have the same length; peers may wrap them in
 * something.
 */
static void find_message(struct stream *s, const char *text, size_t length) {
  const char *end = text + length;
  const char *p = length > 5 && memcmp(text, "{\"n\":", 5) == 0 ? text : memmem(text, length, "{\"n\":", 5);
  if (p == NULL) return;
  size_t left = (size_t)(end - p);
  s->is_torn = left < payload_bytes || memcmp(p + payload_bytes - 2, "\"}", 2) != 0 || (p == text && left > payload_bytes);
  p += 5;
  s->n = number(&p, end);
  s->t = 0;
  if (end - p > 5 && memcmp(p, ",\"t\":", 5) == 0) {
    p += 5;
    s->t = number(&p, end);
  }
}

static void dispatch(struct stream *s) {
  if (s->n >= 0) {
    torn += s->is_torn;
    count_message(s, s->n, s->t);
  } else if (s->is_sync == 1) {
    syncs++;
    if (!s->complete) incomplete++;
    if (live_on_sync && !s->live) went_live(s);
  } else if (s->is_sync == 2) pings++;
  s->n = -1;
  s->is_sync = 0;
  if (s->id[0] != 0) memcpy(s->past, s->id, sizeof s->past);
}

static void line(struct stream *s, const char *text, size_t length) {
  if (length > 0 && text[length - 1] == '\r') length--;
  if (length == 0) {
    dispatch(s);
    return;
  }
  if (length > 5 && memcmp(text, "data:", 5) == 0) {
    size_t skip = text[5] == ' ' ? 6 : 5;
    if (s->is_sync == 1) s->complete = memmem(text, length, "\"incomplete\"", 12) == NULL;
    else find_message(s, text + skip, length - skip);
  } else if (length > 3 && memcmp(text, "id:", 3) == 0) {
    size_t skip = text[3] == ' ' ? 4 : 3;
    if (length - skip < sizeof s->id) {
      memcpy(s->id, text + skip, length - skip);
      s->id[length - skip] = 0;
    }
  } else if (length == 11 && memcmp(text, "event: sync", 11) == 0) s->is_sync = 1;
  else if (length == 11 && memcmp(text, "event: ping", 11) == 0) s->is_sync = 2;
}

static void lines(struct stream *s, const char *bytes, size_t length) {
  const char *end = bytes + length, *newline;
  while (bytes < end && (newline = memchr(bytes, '\n', (size_t)(end - bytes))) != NULL) {
    if (s->carried > 0) {
      keep(s, bytes, (size_t)(newline - bytes));
      line(s, s->carry, s->carried);
      s->carried = 0;
    } else line(s, bytes, (size_t)(newline - bytes));
    bytes = newline + 1;
  }
  if (bytes < end) keep(s, bytes, (size_t)(end - bytes));
}

/* part: 0 the size, 1 the rest of the size's line, 2 data, 3 the line break after it. */
static int chunks(struct stream *s, const char *p, const char *end) {
  while (p < end) {
    if (s->part == 2) {
      size_t have = (size_t)(end - p), take = have < s->left ? have : (size_t)s->left;
      lines(s, p, take);
      p += take;
      s->left -= take;
      if (s->left == 0) s->part = 3;
      continue;
    }
    char c = *p++;
    if (s->part == 0) {
      int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
      if (digit >= 0) {
        s->left = s->left * 16 + (uint64_t)digit;
        continue;
      }
      s->part = 1;
    }
    if (c != '\n') continue;
    if (s->part == 3) s->part = 0;
    else if (s->left == 0) return -1; /* the last chunk: the stream has ended */
    else s->part = 2;
  }
  return 0;
}

static void message(struct stream *s, const char *text, size_t length) {
  if (length >= 2 && memcmp(text, "42", 2) == 0) {
    find_message(s, text, length);
    dispatch(s);
  } else if (length >= 2 && memcmp(text, "40", 2) == 0) {
    if (!s->live) went_live(s);
  } else if (length >= 1 && text[0] == '0') answer(s, "40", 2);
  else if (length >= 1 && text[0] == '2') {
    pings++;
    answer(s, "3", 1);
  }
}

/*
 * Whole frames only, so a frame's head is in carry until it is complete. Servers do not mask, and Engine.IO does not
 * fragment.
 */
static void frames(struct stream *s, const char *p, const char *end) {
  while (p < end || s->carried > 0) {
    const char *at = p;
    size_t have = (size_t)(end - p);
    if (s->carried > 0) {
      keep(s, p, have);
      at = s->carry;
      have = s->carried;
      p = end;
    }
    size_t used = 0;
    while (have - used >= 2) {
      const uint8_t *head = (const uint8_t *)at + used;
      size_t size = head[1] & 127, skip = 2;
      if (size == 126) skip = 4;
      if (size == 127) skip = 10;
      if (have - used < skip) break;
      if (size >= 126) {
        size = 0;
        for (size_t i = 2; i < skip; i++) size = size << 8 | head[i];
      }
      if (have - used < skip + size) break;
      if ((head[0] & 15) == 1) message(s, at + used + skip, size);
      used += skip + size;
    }
    if (at == s->carry) {
      memmove(s->carry, s->carry + used, have - used);
      s->carried = (uint32_t)(have - used);
    } else keep(s, at + used, have - used);
    return;
  }
}

/* The head stands whole in `text`, ended by an empty line. */
static int head(struct stream *s, const char *text, size_t length) {
  int status = length > 12 ? atoi(text + 9) : 0;
  if (status == 101) s->framing = WEBSOCKET;
  else if (status == 200) s->framing = memmem(text, length, "hunked", 6) != NULL ? CHUNKED : PLAIN;
  else return -1;
  s->phase = BODY;
  s->part = 0;
  s->left = 0;
  if (!live_on_sync && s->framing != WEBSOCKET) went_live(s);
  return 0;
}

/* For HTTP/2, which has heads and pieces of its own. */
void body_begins(struct stream *s) {
  s->phase = BODY;
  s->framing = PLAIN;
  if (!live_on_sync) went_live(s);
}

void body(struct stream *s, const char *bytes, size_t length) {
  lines(s, bytes, length);
}

int feed(struct stream *s, char *bytes, size_t length) {
  bytes_read += length;
  char *end = bytes + length;
  if (s->phase == HEAD) {
    uint32_t before = s->carried;
    keep(s, bytes, length);
    char *stop = memmem(s->carry, s->carried, "\r\n\r\n", 4);
    if (stop == NULL) return s->carried > 16384 ? -1 : 0;
    size_t size = (size_t)(stop + 4 - s->carry);
    if (head(s, s->carry, size) < 0) {
      refused++;
      return -1;
    }
    bytes += size - before;
    s->carried = 0;
  }
  if (bytes >= end) return 0;
  if (s->framing == CHUNKED) return chunks(s, bytes, end);
  if (s->framing == WEBSOCKET) frames(s, bytes, end);
  else lines(s, bytes, (size_t)(end - bytes));
  return 0;
}
