// Command millrace takes measures in over Gnocchi's v1 REST API, acknowledges them
// when they are durable, and makes aggregates of them.
//
// config.go is every setting with its default, settings.go reads them, validate.go
// refuses what can't be meant; wire.go makes the parts and joins them (the one switch
// that names drivers); serve.go is their life and death, listen.go the way in;
// telemetry.go and observe*.go are what is told about it. client.go speaks to a
// running server for the commands that need one, which have a file each, or several:
// import.go, importcsv.go and so on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run takes everything that the operating system gave, and returns the exit status.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := newRoot(environ)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "millrace:", err)
		if exit, ok := errors.AsType[*exitError](err); ok {
			return exit.status
		}
		return 1
	}
	return 0
}

// An exitError ends the process with a status of its own.
type exitError struct {
	status int
	error
}

func (e *exitError) Unwrap() error { return e.error }
