/* What each stream asks for, from a file: port TAB path [TAB header]… */
#define _GNU_SOURCE
#include "load.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request *requests;
size_t total;

void fail(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

void read_requests(const char *path) {
  FILE *file = fopen(path, "r");
  if (file == NULL) fail(path);
  char *text = NULL;
  size_t room = 0, slots = 0;
  while (getline(&text, &room, file) > 0) {
    text[strcspn(text, "\n")] = 0;
    if (total == slots) requests = realloc(requests, (slots = slots ? slots * 2 : 1024) * sizeof *requests);
    char *rest = text, *port = strsep(&rest, "\t"), *where = strsep(&rest, "\t");
    char *headers = calloc(1, (rest ? strlen(rest) : 0) * 2 + 3), *to = headers;
    for (char *header; rest != NULL && (header = strsep(&rest, "\t")) != NULL;) to += sprintf(to, "%s\r\n", header);
    requests[total++] = (struct request){ atoi(port), strdup(where), headers };
  }
  fclose(file);
  free(text);
}

size_t write_request(char *text, size_t room, const struct request *r, const char *last_event_id) {
  int length = snprintf(text, room, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s%s\r\n", r->path, r->port, r->headers,
                        *last_event_id ? "Last-Event-ID: " : "", last_event_id, *last_event_id ? "\r\n" : "");
  if (length >= (int)room) {
    errno = E2BIG;
    fail("a request");
  }
  return (size_t)length;
}
