package filestore

import (
	"errors"
	"fmt"
	"strings"
)

var errName = errors.New("not an object's name")

// checkName refuses what is not the name of an object, above all what would lead
// out of the store's folder.
func checkName(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 || !isName(part) {
			return fmt.Errorf("%w: %.100q", errName, name)
		}
	}
	return nil
}

// isName says whether the text has only letters, digits, '-', '_' and '.'.
func isName(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
