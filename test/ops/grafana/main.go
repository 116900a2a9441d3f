// Reads a dashboard as Grafana's own types have it, strictly: a field that they do not know, a panel or query that no plugin of
// Grafana takes, and a value out of its bounds are errors. The dashboard comes by standard input.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	text, err := io.ReadAll(os.Stdin)
	check(err)
	var read dashboard.Dashboard
	check(read.UnmarshalJSONStrict(text))
	check(read.Validate())
	fmt.Printf("%d panels\n", len(read.Panels))
}

func check(err error) {
	// It is a list, and an empty one is no error.
	if list, isList := err.(cog.BuildErrors); isList && len(list) == 0 {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
