// Reads a stream with r3labs/sse. Prints one line an event: id, event, data.
// The library reconnects with Last-Event-ID. It must be told what ends it: by default every answer but 200 is tried
// again.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
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

// whole holds back what stands after the last whole event: the library hands out half an event, and counts its id, if
// the stream ends there.
type whole struct {
	io.ReadCloser
	held  []byte
	ready int
	err   error
}

func (w *whole) Read(bytes []byte) (int, error) {
	for w.ready == 0 && w.err == nil {
		chunk, n := make([]byte, 4096), 0
		n, w.err = w.ReadCloser.Read(chunk)
		w.held = append(w.held, chunk[:n]...)
		if end := strings.LastIndex(string(w.held), "\n\n"); end >= 0 {
			w.ready = end + 2
		}
	}
	if w.ready == 0 {
		return 0, w.err
	}
	n := copy(bytes, w.held[:w.ready])
	w.held, w.ready = w.held[n:], w.ready-n
	return n, nil
}

type transport struct{ http.RoundTripper }

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err == nil {
		response.Body = &whole{ReadCloser: response.Body}
	}
	return response, err
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
	client := sse.NewClient(env("TIDINGS_URL"), sse.ClientMaxBufferSize(1<<22))
	client.Connection = &http.Client{Transport: transport{&http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial}}}
	client.Headers["Authorization"] = "Bearer " + env("TIDINGS_TOKEN")
	client.ReconnectStrategy = &backoff.ConstantBackOff{Interval: 3 * time.Second}
	client.ReconnectNotify = func(err error, _ time.Duration) { fmt.Fprintln(os.Stderr, "trying again:", err) }
	client.ResponseValidator = func(_ *sse.Client, response *http.Response) error {
		switch {
		case response.StatusCode == http.StatusOK:
			return nil
		case response.StatusCode == http.StatusNoContent: // ended for good: logged out, or replaced
			os.Exit(0)
		case isFinal(response.StatusCode):
			fmt.Fprintln(os.Stderr, "refused:", response.Status)
			os.Exit(1)
		}
		return fmt.Errorf("answered %s", response.Status)
	}
	// A clean end of the stream ends Subscribe without an error, so it stands in a loop.
	for {
		_ = client.SubscribeRaw(func(event *sse.Event) {
			name := string(event.Event)
			if name == "" {
				name = "message"
			}
			fmt.Println(strings.Join([]string{string(event.ID), name, string(event.Data)}, "\t"))
		})
		time.Sleep(3 * time.Second)
	}
}
