// Reads a stream with launchdarkly/eventsource. Prints one line an event: id, event, data.
// The library reconnects with Last-Event-ID and follows `retry:`. It takes 204 for an error that passes: the handler
// says otherwise.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/launchdarkly/eventsource"
)

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
	request, err := http.NewRequest(http.MethodGet, env("TIDINGS_URL"), http.NoBody)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+env("TIDINGS_TOKEN"))
	stream, err := eventsource.SubscribeWithRequestAndOptions(request,
		eventsource.StreamOptionInitialRetry(3*time.Second),
		eventsource.StreamOptionUseBackoff(30*time.Second),
		eventsource.StreamOptionUseJitter(0.5),
		eventsource.StreamOptionReadTimeout(30*time.Second),
		eventsource.StreamOptionCanRetryFirstConnection(-1),
		eventsource.StreamOptionErrorHandler(func(err error) eventsource.StreamErrorHandlerResult {
			var answer eventsource.SubscriptionError
			if errors.As(err, &answer) {
				if answer.Code == http.StatusNoContent { // ended for good: logged out, or replaced
					os.Exit(0)
				}
				if isFinal(answer.Code) {
					fmt.Fprintln(os.Stderr, "refused:", err)
					os.Exit(1)
				}
			}
			fmt.Fprintln(os.Stderr, "trying again:", err)
			return eventsource.StreamErrorHandlerResult{}
		}))
	if err != nil {
		panic(err)
	}
	for event := range stream.Events {
		name := event.Event()
		if name == "" {
			name = "message"
		}
		fmt.Printf("%s\t%s\t%s\n", event.Id(), name, event.Data())
	}
}
