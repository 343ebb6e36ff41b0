package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"
)

// size is a number of bytes; it is written as a number or with a unit: 64MiB, 1GB.
type size int64

// UnmarshalText reads a size.
func (b *size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size such as 64MiB", text)
	}
	*b = size(n)
	return nil
}

func (b size) String() string {
	if b == 0 {
		return "0"
	}
	return strings.ReplaceAll(humanize.IBytes(uint64(b)), " ", "")
}

// secret is a text that is never printed, whatever prints it.
type secret string

const redacted = "**redacted**"

// Format writes no secret, whichever the verb.
func (secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText keeps it out of JSON, YAML and structured logs.
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
