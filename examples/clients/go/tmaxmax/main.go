// Reads a stream with tmaxmax/go-sse. Prints one line an event: id, event, data.
// The library reconnects with Last-Event-ID and follows `retry:`. By default it gives up after 10 tries.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/tmaxmax/go-sse"
)

var errForGood = errors.New("ended for good")

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

func main() {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, os.Getenv("TIDINGS_URL"), http.NoBody)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TIDINGS_TOKEN"))
	client := sse.Client{
		HTTPClient: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial}},
		Backoff:    sse.Backoff{InitialInterval: 3 * time.Second, Multiplier: 1.5, MaxInterval: 30 * time.Second, Jitter: 0.5, MaxRetries: 0},
		ResponseValidator: func(response *http.Response) error {
			switch response.StatusCode {
			case http.StatusNoContent: // ended for good: logged out, or replaced
				os.Exit(0)
			case http.StatusUnauthorized, http.StatusForbidden:
				return errForGood
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
		if err := connection.Connect(); errors.Is(err, errForGood) {
			fmt.Fprintln(os.Stderr, "refused:", err)
			os.Exit(1)
		}
		time.Sleep(3 * time.Second)
	}
}
