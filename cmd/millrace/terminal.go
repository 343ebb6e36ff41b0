package main

import (
	"io"
	"os"
)

// isTerminal says whether somebody watches what is written there: then progress is
// shown.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
