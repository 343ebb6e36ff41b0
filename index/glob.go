package index

import (
	"strings"
	"unicode/utf8"
)

// MatchGlob says whether the whole of name matches a pattern: see matchGlob.
func MatchGlob(pattern, name string) bool { return matchGlob(pattern, name) }

// matchGlob says whether the whole of name matches a pattern as Python's
// fnmatchcase has it: * is any text, ? one character, [seq] one of those and
// [!seq] one of the others, where seq is characters and ranges like a-z. A ] that
// comes first in seq stands for itself, as does a [ that nothing closes; there is
// no escaping. Path separators and leading dots are characters like any other.
func matchGlob(pattern, name string) bool {
	p, n := 0, 0
	star, from := -1, 0 // after the last *, and where in name what follows it was tried
	for p < len(pattern) || n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, from = p, n
			continue
		}
		if p < len(pattern) && n < len(name) {
			char, width := utf8.DecodeRuneInString(name[n:])
			if length, ok := matchChar(pattern[p:], char); ok {
				p, n = p+length, n+width
				continue
			}
		}
		if star < 0 || from == len(name) {
			return false
		}
		_, width := utf8.DecodeRuneInString(name[from:]) // let the * take one more
		from += width
		p, n = star, from
	}
	return true
}

// matchChar matches one character with the beginning of a pattern and returns how
// many bytes of the pattern that was.
func matchChar(pattern string, char rune) (length int, ok bool) {
	first, width := utf8.DecodeRuneInString(pattern)
	switch first {
	case '?':
		return width, true
	case '[':
		if set, negated, length := cutSet(pattern); length > 0 {
			return length, inSet(set, char) != negated
		}
	}
	return width, first == char
}

// cutSet takes the seq out of a pattern that begins with [seq] or [!seq]; length
// is 0 when nothing closes it.
func cutSet(pattern string) (set string, negated bool, length int) {
	begin := 1
	if strings.HasPrefix(pattern[begin:], "!") {
		negated = true
		begin++
	}
	if begin == len(pattern) {
		return "", false, 0
	}
	end := strings.IndexByte(pattern[begin+1:], ']') // not the very first
	if end < 0 {
		return "", false, 0
	}
	end += begin + 1
	return pattern[begin:end], negated, end + 1
}

// inSet says whether a seq has a character. A range that ends before it begins is empty.
func inSet(set string, char rune) bool {
	for set != "" {
		low, width := utf8.DecodeRuneInString(set)
		set = set[width:]
		high := low
		if len(set) > 1 && set[0] == '-' {
			high, width = utf8.DecodeRuneInString(set[1:])
			set = set[1+width:]
		}
		if low <= char && char <= high {
			return true
		}
	}
	return false
}
