// Publishes straight through Redis: one Redis or a Cluster, one partition or many.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var ctx = context.Background()

// slot is that of CLUSTER KEYSLOT: CRC-16 of what stands between the first { and the next }, or of all.
func slot(name string) int {
	if _, rest, ok := strings.Cut(name, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			name = tag
		}
	}
	crc := uint16(0)
	for _, char := range []byte(name) {
		crc ^= uint16(char) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % 16384)
}

type Tidings struct {
	client   redis.UniversalClient
	prefixes []string
}

func Open(client redis.UniversalClient, prefix string) (*Tidings, error) {
	prefixes, err := client.LRange(ctx, prefix+":partitions", 0, -1).Result()
	if len(prefixes) == 0 {
		prefixes = []string{prefix}
	}
	return &Tidings{client, prefixes}, err
}

func (t *Tidings) home(to string) []string {
	_, name, ok := strings.Cut(to, ":")
	if !ok {
		name = to // all
	}
	return []string{t.prefixes[slot(name)*len(t.prefixes)/16384]}
}

func (t *Tidings) Publish(to, data string, options ...any) (string, error) {
	args := append([]any{to, "message", data}, options...)
	if !slices.Contains(options, any("IDEMPOTENCY")) {
		// The library may repeat a call. With a key of your own you may, too.
		args = append(args, "IDEMPOTENCY", rand.Text())
	}
	reply, err := t.client.FCall(ctx, "tidings_publish", t.home(to), args...).Slice()
	if err != nil {
		return "", err
	}
	return fmt.Sprint(reply[0]), nil
}

func (t *Tidings) Retract(to, id string) (bool, error) {
	return t.client.FCall(ctx, "tidings_retract", t.home(to), to, "ID", id).Bool()
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	// With several addresses it is a client of a Cluster.
	options := &redis.UniversalOptions{
		Addrs: strings.Split(os.Getenv("REDIS_ADDRESSES"), ","), Username: os.Getenv("REDIS_USER"), Password: os.Getenv("REDIS_PASSWORD"),
	}
	var client redis.UniversalClient = redis.NewClient(options.Simple())
	if len(options.Addrs) > 1 {
		cluster := options.Cluster()
		cluster.ClusterStateReloadInterval = 5 * time.Second // or a master that died is asked for up to a minute
		client = redis.NewClusterClient(cluster)
	}
	defer client.Close()
	tidings := must(Open(client, "tidings"))
	for _, to := range os.Args[1:] { // for example user:42 group:Complaints all
		fmt.Println(to, must(tidings.Publish(to, `{"title":"Hello"}`)))
		mistake := must(tidings.Publish(to, `{"title":"A mistake"}`, "TTL", 3600))
		fmt.Println(to, map[bool]string{true: "taken back", false: "not taken back"}[must(tidings.Retract(to, mistake))])
	}
}
