//go:build tools

// Package tools names what `make servers` builds here, so that go.mod keeps it.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
