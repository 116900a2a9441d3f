// Reads a stream with tmaxmax/go-sse. Prints one line an event: id, event, data.
// The library reconnects with Last-Event-ID and follows `retry:`. By default it gives up after 10 tries.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/tmaxmax/go-sse"
)

// silence ends a read that hears nothing for two heartbeats: the line is dead.
type silence struct{ net.Conn }

func (s silence) Read(bytes []byte) (int, error) {
	if err := s.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	return s.Conn.Read(bytes)
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	connection, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return silence{connection}, nil
}

func env(name string) string {
	value, isSet := os.LookupEnv(name)
	if !isSet {
		fmt.Fprintln(os.Stderr, name, "is not set")
		os.Exit(1)
	}
	return value
}

// isFinal: 401 and 403: get another token. 404: look at the URL. 408 and 429 pass.
func isFinal(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

func main() {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, env("TIDINGS_URL"), http.NoBody)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+env("TIDINGS_TOKEN"))
	client := sse.Client{
		HTTPClient: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial}},
		Backoff:    sse.Backoff{InitialInterval: 3 * time.Second, Multiplier: 1.5, MaxInterval: 30 * time.Second, Jitter: 0.5, MaxRetries: 0},
		OnRetry:    func(err error, _ time.Duration) { fmt.Fprintln(os.Stderr, "trying again:", err) },
		ResponseValidator: func(response *http.Response) error {
			if response.StatusCode == http.StatusNoContent { // ended for good: logged out, or replaced
				os.Exit(0)
			}
			if isFinal(response.StatusCode) {
				fmt.Fprintln(os.Stderr, "refused:", response.Status)
				os.Exit(1)
			}
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("answered %s", response.Status)
			}
			return sse.DefaultValidator(response)
		},
	}
	connection := client.NewConnection(request)
	connection.Buffer(nil, 1<<22)
	connection.SubscribeToAll(func(event sse.Event) {
		name := event.Type
		if name == "" {
			name = "message"
		}
		fmt.Printf("%s\t%s\t%s\n", event.LastEventID, name, event.Data)
	})
	for {
		fmt.Fprintln(os.Stderr, "trying again:", connection.Connect())
		time.Sleep(3 * time.Second)
	}
}
