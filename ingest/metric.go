package ingest

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
)

// A MetricID is a metric's UUID in its 16-byte form.
type MetricID [16]byte

// A Sack is a partition of the metrics and of the log: 0 ≤ sack < sacks.
type Sack int

// ErrMetricID says that a text is not a UUID.
var ErrMetricID = errors.New("badly formed hexadecimal UUID string")

// NewMetricID returns a random (version 4) id.
func NewMetricID() MetricID {
	var id MetricID
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseMetricID reads a UUID as Gnocchi does: 32 hexadecimal digits of any case,
// hyphens anywhere, optional braces, optional "urn:uuid:". It does not allocate.
func ParseMetricID[T string | []byte](text T) (MetricID, error) {
	var id MetricID
	if len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' { // Fast path.
		bad := byte(0)
		j := 0
		for i := 0; i < 36; i += 2 {
			if i == 8 || i == 13 || i == 18 || i == 23 {
				i++
			}
			hi, lo := hexDigit[text[i]], hexDigit[text[i+1]]
			bad |= hi | lo
			id[j] = hi<<4 | lo
			j++
		}
		if bad < 16 {
			return id, nil
		}
	}
	return parseOddMetricID(string(text))
}

func parseOddMetricID(s string) (MetricID, error) {
	var id MetricID
	if len(s) >= 9 && s[:9] == "urn:uuid:" {
		s = s[9:]
	}
	for len(s) > 0 && (s[0] == '{' || s[0] == '}') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == '{' || s[len(s)-1] == '}') {
		s = s[:len(s)-1]
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '-' {
			continue
		}
		d := hexDigit[s[i]]
		if d > 15 || n == 32 {
			return MetricID{}, ErrMetricID
		}
		id[n/2] = id[n/2]<<4 | d
		n++
	}
	if n != 32 {
		return MetricID{}, ErrMetricID
	}
	return id, nil
}

// hexDigit maps a byte to its value as a hexadecimal digit, or to 0xf0.
var hexDigit = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xf0
	}
	for i := byte(0); i < 10; i++ {
		t['0'+i] = i
	}
	for i := byte(0); i < 6; i++ {
		t['a'+i], t['A'+i] = 10+i, 10+i
	}
	return t
}()

// String returns the canonical form: lower case, with hyphens.
func (id MetricID) String() string { return string(id.AppendText(make([]byte, 0, 36))) }

// AppendText appends the canonical form to dst.
func (id MetricID) AppendText(dst []byte) []byte {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return append(dst, b[:]...)
}

// MarshalText returns the canonical form.
func (id MetricID) MarshalText() ([]byte, error) { return id.AppendText(make([]byte, 0, 36)), nil }

// UnmarshalText reads what ParseMetricID reads.
func (id *MetricID) UnmarshalText(text []byte) error {
	parsed, err := ParseMetricID(text)
	if err == nil {
		*id = parsed
	}
	return err
}

// SackOf says which of a deployment's sacks a metric belongs to. The function is
// part of the storage format: it never changes, and neither does the number of
// sacks of a deployment. (splitmix64's finaliser over the two halves of the id,
// so that ids counted up by hand spread too; multiplied into range.)
func SackOf(id MetricID, sacks int) Sack {
	x := mix(binary.BigEndian.Uint64(id[:8])) ^ binary.BigEndian.Uint64(id[8:])
	hi, _ := bits.Mul64(mix(x), uint64(sacks))
	return Sack(hi)
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
