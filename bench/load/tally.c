/* The ledger: which stream received which message, and how long each took. */
#define _GNU_SOURCE
#include "load.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MAX_NUMBER (1 << 24)
/* Buckets of 1/32 of a power of two: 3 % wide, 0 to 4,000 s in microseconds. */
#define SUB 32
#define BUCKETS (SUB * 28)

int64_t target = -1;
size_t reached = 0;
uint64_t bytes_read, pings, refused, ended, syncs, incomplete, torn;
static uint64_t messages, duplicates, late, histogram[BUCKETS];

static unsigned bucket_of(uint64_t us) {
  if (us < SUB) return (unsigned)us;
  unsigned power = 63 - (unsigned)__builtin_clzll(us); /* at least 5 */
  unsigned bucket = SUB * (power - 4) + (unsigned)((us >> (power - 5)) & (SUB - 1));
  return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

void count_message(struct stream *s, int64_t n, int64_t t_us) {
  if (n < 0 || n >= MAX_NUMBER) return;
  uint32_t byte = (uint32_t)(n >> 3), bit = 1u << (n & 7);
  if (byte >= s->seen_bytes) {
    uint32_t wanted = s->seen_bytes ? s->seen_bytes * 2 : 64;
    while (wanted <= byte) wanted *= 2;
    s->seen = realloc(s->seen, wanted);
    memset(s->seen + s->seen_bytes, 0, wanted - s->seen_bytes);
    s->seen_bytes = wanted;
  }
  messages++;
  if (s->seen[byte] & bit) {
    duplicates++;
    return;
  }
  s->seen[byte] |= bit;
  int64_t took = (int64_t)read_at_us - t_us;
  histogram[bucket_of(took > 0 ? (uint64_t)took : 0)]++;
  if (n < s->last) {
    late++;
    return;
  }
  if (target >= 0 && s->last < target && n >= target) reached++;
  s->last = n;
}

void forget(struct stream *streams, size_t count) {
  for (size_t i = 0; i < count; i++) {
    memset(streams[i].seen, 0, streams[i].seen_bytes);
    streams[i].last = -1;
  }
  memset(histogram, 0, sizeof histogram);
  messages = duplicates = late = bytes_read = pings = refused = ended = syncs = incomplete = torn = 0;
  target = -1;
}

void print_report(struct stream *streams, size_t count, int64_t from, int64_t to) {
  uint64_t lost = 0, losers = 0, behind = 0; /* behind: after the last that came, so it may still be on its way */
  size_t live = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t missing = 0, before = behind;
    live += streams[i].live;
    for (int64_t n = from; n <= to; n++) {
      uint32_t byte = (uint32_t)(n >> 3);
      if (byte < streams[i].seen_bytes && (streams[i].seen[byte] & (1u << (n & 7)))) continue;
      if (n > streams[i].last) behind++;
      else missing++;
    }
    lost += missing;
    losers += missing > 0 || behind > before;
  }
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  printf("{\"is\":\"report\",\"streams\":%zu,\"live\":%zu,\"messages\":%lu,\"lost\":%lu,\"losers\":%lu,\"behind\":%lu,\"duplicates\":%lu,\"late\":%lu,"
         "\"bytes\":%lu,\"pings\":%lu,\"refused\":%lu,\"ended\":%lu,\"syncs\":%lu,\"incomplete\":%lu,\"torn\":%lu,\"cpuSeconds\":%.6f,\"awakeSeconds\":%.6f,\"histogram\":[",
         count, live, messages, lost, losers, behind, duplicates, late, bytes_read, pings, refused, ended, syncs, incomplete, torn, cpu, awake_us / 1e6);
  const char *comma = "";
  for (unsigned i = 0; i < BUCKETS; i++) {
    if (histogram[i] == 0) continue;
    printf("%s%u,%lu", comma, i, histogram[i]);
    comma = ",";
  }
  printf("]}\n");
}
