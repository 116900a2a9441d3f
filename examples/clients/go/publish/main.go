// Signs a token, publishes over HTTP, and publishes straight through Redis.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func env(name string) string {
	value, isSet := os.LookupEnv(name)
	if !isSet {
		panic(name + " is not set")
	}
	return value
}

func main() {
	to := env("TIDINGS_TO") // for example user:42
	token := must(jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "orders", "exp": time.Now().Add(5 * time.Minute).Unix(), "iat": time.Now().Unix(), "scope": "notifications:publish",
	}).SignedString([]byte(env("JWT_SECRET"))))

	body := must(json.Marshal(map[string]any{"to": to, "data": map[string]string{"from": "go http"}}))
	request := must(http.NewRequest(http.MethodPost, env("TIDINGS_BASE")+"/api/notifications", bytes.NewReader(body)))
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	key := make([]byte, 16)
	must(rand.Read(key))
	request.Header.Set("Idempotency-Key", fmt.Sprintf("go-%x", key))
	response := must((&http.Client{Timeout: 10 * time.Second}).Do(request))
	defer response.Body.Close()
	var answer struct{ Notifications []struct{ ID string } }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusAccepted {
		panic(response.Status)
	}

	connection := redis.NewClient(must(redis.ParseURL(env("REDIS_URL"))))
	defer connection.Close()
	// The library may repeat a call.
	reply := must(connection.FCall(context.Background(), "tidings_publish", []string{"tidings"}, to, "message", `{"from":"go redis"}`, "IDEMPOTENCY", rand.Text()).Slice())
	fmt.Println(answer.Notifications[0].ID, reply[0])
}
