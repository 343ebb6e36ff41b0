package gnocchi

import (
	"bytes"
	"math"
)

// maxSkipDepth is how deep a value may be that the scanner passes over itself.
const maxSkipDepth = 16

// time reads the time stamp at i: ISO-8601 in a string, or seconds since the
// epoch, in a string or not.
func (s *scanner) time(i int) (t int64, kind timeKind, end int) {
	data := s.data
	if i >= len(data) {
		return 0, noTime, -1
	}
	if data[i] != '"' {
		t, end = s.seconds(i)
		return t, epochTime, end
	}
	i++
	if i+4 < len(data) && data[i+4] == '-' {
		sec, nsec, n := isoTime(data[i:])
		// The slow path says what is wrong with the first and the last second.
		if end = i + n; n == 0 || end >= len(data) || data[end] != '"' || sec < 0 || sec >= maxSeconds {
			return 0, noTime, -1
		}
		return sec*1e9 + nsec, isoTimeKind, end + 1
	}
	if t, end = s.seconds(i); end < 0 || end >= len(data) || data[end] != '"' {
		return 0, noTime, -1
	}
	return t, epochTime, end + 1
}

// seconds reads the numeral at i as seconds since the epoch.
func (s *scanner) seconds(i int) (t int64, end int) {
	n, end := scanNumber(s.data, i)
	if end < 0 || n.negative {
		return 0, -1
	}
	if n.whole && n.count <= 19 {
		if n.digits > maxSeconds {
			return 0, -1
		}
		return int64(n.digits) * 1e9, end
	}
	f := n.float(s.data[i:end]) * 1e9
	if f >= 1<<63 {
		return 0, -1
	}
	return int64(f), end
}

// value reads the value at i: a number, in a string or not, one of NaN, Infinity
// and -Infinity, or a boolean.
func (s *scanner) value(i int) (v float64, end int) {
	data := s.data
	if i >= len(data) {
		return 0, -1
	}
	switch c := data[i]; {
	case c-'0' <= 9 || c == '-':
		if end = s.literal(i, "-Infinity"); end > 0 {
			return math.Inf(-1), end
		}
		return s.float(i)
	case c == '"':
		if v, end = s.float(i + 1); end < 0 || end >= len(data) || data[end] != '"' {
			return 0, -1
		}
		return v, end + 1
	case c == 'N':
		return math.NaN(), s.literal(i, "NaN")
	case c == 'I':
		return math.Inf(1), s.literal(i, "Infinity")
	case c == 't':
		return 1, s.literal(i, "true")
	case c == 'f':
		return 0, s.literal(i, "false")
	}
	return 0, -1
}

func (s *scanner) float(i int) (v float64, end int) {
	n, end := scanNumber(s.data, i)
	if end < 0 {
		return 0, -1
	}
	return n.float(s.data[i:end]), end
}

// literal passes over word.
func (s *scanner) literal(i int, word string) int {
	if end := i + len(word); end <= len(s.data) && string(s.data[i:end]) == word {
		return end
	}
	return -1
}

// str passes over the string at i. It doesn't know escapes.
func (s *scanner) str(i int) int {
	if i >= len(s.data) || s.data[i] != '"' {
		return -1
	}
	n := bytes.IndexByte(s.data[i+1:], '"')
	if n < 0 {
		return -1
	}
	end := i + 1 + n
	for _, c := range s.data[i+1 : end] {
		if c == '\\' || c < ' ' {
			return -1
		}
	}
	return end + 1
}

// skip passes over the value at i, whatever it is.
func (s *scanner) skip(i, depth int) int {
	if i >= len(s.data) || depth > maxSkipDepth {
		return -1
	}
	switch c := s.data[i]; c {
	case '"':
		return s.str(i)
	case '{', '[':
		return s.skipMembers(i, depth)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	case 'N':
		return s.literal(i, "NaN")
	case 'I':
		return s.literal(i, "Infinity")
	}
	if end := s.literal(i, "-Infinity"); end > 0 {
		return end
	}
	_, end := scanNumber(s.data, i)
	return end
}

// skipMembers passes over the object or list that opens at i.
func (s *scanner) skipMembers(i, depth int) int {
	object := s.data[i] == '{'
	closing := s.data[i] + 2 // '{' and '}', '[' and ']' are two apart in ASCII
	i = blanks(s.data, i+1)
	if i < len(s.data) && s.data[i] == closing {
		return i + 1
	}
	for {
		if object {
			if i = s.colon(s.str(i)); i < 0 {
				return -1
			}
		}
		if i = s.skip(i, depth+1); i < 0 {
			return -1
		}
		if i = blanks(s.data, i); i >= len(s.data) {
			return -1
		}
		switch s.data[i] {
		case closing:
			return i + 1
		case ',':
			i = blanks(s.data, i+1)
		default:
			return -1
		}
	}
}
