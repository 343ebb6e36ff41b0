package index

import (
	"encoding/csv"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestMatchGlob compares with what Python's fnmatch.fnmatchcase says
// (testdata/fnmatch.py writes testdata/fnmatch.csv).
func TestMatchGlob(t *testing.T) {
	file, err := os.Open("testdata/fnmatch.csv")
	must(t, err)
	defer file.Close()
	for _, row := range value(csv.NewReader(file).ReadAll())(t) {
		pattern, name, want := row[0], row[1], row[2] == "yes"
		if got := matchGlob(pattern, name); got != want {
			t.Errorf("pattern %q, name %q: got %v", pattern, name, got)
		}
	}
}

// FuzzMatchGlob compares with regular expressions.
func FuzzMatchGlob(f *testing.F) {
	for _, seed := range [][2]string{
		{"*", ""}, {"a*b*c", "aXbbXc"}, {"[!a-c]?", "dé"}, {"[]-a]", "]"}, {"[a", "[a"}, {"[z-a]*", "x"}, {"**?", "."},
		{"[--0]", "."},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(name) || len(pattern) > 100 {
			t.Skip("names are text, and short")
		}
		want := regexp.MustCompile(globAsRegexp(pattern)).MatchString(name)
		if got := matchGlob(pattern, name); got != want {
			t.Errorf("pattern %q, name %q: got %v", pattern, name, got)
		}
	})
}

// globAsRegexp is the translation that Python's documentation describes.
func globAsRegexp(pattern string) string {
	set := regexp.MustCompile(`(?s)^\[(!?)(\]?[^\]]*)\]`)
	var out strings.Builder
	for pattern != "" {
		if m := set.FindStringSubmatch(pattern); m != nil && m[2] != "" {
			out.WriteString(setAsRegexp(m[1] != "", []rune(m[2])))
			pattern = pattern[len(m[0]):]
			continue
		}
		_, width := utf8.DecodeRuneInString(pattern)
		switch c := pattern[:width]; c {
		case "*":
			out.WriteString(".*")
		case "?":
			out.WriteString(".")
		default:
			out.WriteString(regexp.QuoteMeta(c))
		}
		pattern = pattern[width:]
	}
	return `(?s)\A(?:` + out.String() + `)\z`
}

func setAsRegexp(negated bool, set []rune) string {
	var class strings.Builder
	for i := 0; i < len(set); i++ {
		low, high := set[i], set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			high = set[i+2]
			i += 2
		}
		if low <= high {
			fmt.Fprintf(&class, `\x{%x}-\x{%x}`, low, high)
		}
	}
	switch members := class.String(); {
	case members == "" && negated:
		return "."
	case members == "":
		return `[^\x00-\x{10FFFF}]`
	case negated:
		return "[^" + members + "]"
	default:
		return "[" + members + "]"
	}
}
