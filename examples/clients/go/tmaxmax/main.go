// Reads a stream with tmaxmax/go-sse. Prints one line an event: id, event, data.
// The library reconnects with Last-Event-ID and follows `retry:`. By default it gives up after 10 tries.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/tmaxmax/go-sse"
)

var errForGood = errors.New("ended for good")

func main() {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, os.Getenv("TIDINGS_URL"), http.NoBody)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TIDINGS_TOKEN"))
	client := sse.Client{
		Backoff: sse.Backoff{InitialInterval: 3 * time.Second, Multiplier: 1.5, MaxInterval: 30 * time.Second, Jitter: 0.5, MaxRetries: 0},
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
