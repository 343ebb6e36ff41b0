package gnocchi

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
)

// A number is a numeral of JSON: digits × 10^exp.
type number struct {
	digits   uint64 // when there are more than 19 of them, count says so and this means nothing
	count    int    // of digits, with leading zeros
	exp      int
	negative bool
	whole    bool // written without fraction and exponent
}

// maxExponent is where the exponent of a numeral stops being counted: far beyond
// float64, and far from overflowing an int.
const maxExponent = 1 << 20

// scanNumber reads the numeral of JSON at data[i:] and returns where it ends, -1
// when there is none.
func scanNumber(data []byte, i int) (n number, end int) {
	if i < len(data) && data[i] == '-' {
		n.negative = true
		i++
	}
	first := i
	n.digits, i = scanDigits(data, i, 0)
	n.count = i - first
	if n.count == 0 || n.count > 1 && data[first] == '0' {
		return n, -1
	}
	n.whole = true
	if i < len(data) && data[i] == '.' {
		first = i + 1
		n.digits, i = scanDigits(data, first, n.digits)
		if i == first {
			return n, -1
		}
		n.exp = first - i
		n.count += i - first
		n.whole = false
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		return scanExponent(data, i+1, n)
	}
	return n, i
}

// scanDigits reads the digits at data[i:] as the tail of a numeral that began with n.
func scanDigits(data []byte, i int, n uint64) (uint64, int) {
	for i+8 <= len(data) {
		// Eight digits at once: see isoSeconds for the check; neighbours are then
		// joined to pairs, pairs to fours, fours to the eight.
		x := binary.LittleEndian.Uint64(data[i:]) ^ 0x3030303030303030
		if (x|(x+0x7676767676767676))&topBits != 0 {
			break
		}
		x = x*10 + x>>8
		x = (x&0x000000ff000000ff*(100+1000000<<32) + x>>16&0x000000ff000000ff*(1+10000<<32)) >> 32
		n = n*1e8 + x
		i += 8
	}
	for i < len(data) && data[i]-'0' <= 9 {
		n = n*10 + uint64(data[i]-'0')
		i++
	}
	return n, i
}

func scanExponent(data []byte, i int, n number) (number, int) {
	sign := 1
	if i < len(data) && (data[i] == '+' || data[i] == '-') {
		if data[i] == '-' {
			sign = -1
		}
		i++
	}
	exp, first := 0, i
	for ; i < len(data) && data[i]-'0' <= 9; i++ {
		exp = min(exp*10+int(data[i]-'0'), maxExponent)
	}
	if i == first {
		return n, -1
	}
	n.exp += sign * exp
	n.whole = false
	return n, i
}

// float is the value of the numeral, whose text is given: the nearest float64, an
// infinity when it is too large.
//
// With digits below 2^53 and a power of ten up to 10^22 both are float64s, so one
// multiplication or division rounds once, correctly (William D. Clinger, "How to
// Read Floating Point Numbers Accurately", 1990).
func (n *number) float(text []byte) float64 {
	f := float64(n.digits)
	switch {
	case n.count > 19:
		return parseFloat(text)
	case n.exp == 0:
	case n.digits >= 1<<53 || n.exp < -22 || n.exp > 22:
		return parseFloat(text)
	case n.exp < 0:
		f /= pow10[-n.exp]
	default:
		f *= pow10[n.exp]
	}
	if n.negative {
		return -f
	}
	return f
}

// The powers of ten that are exact in float64.
var pow10 = [23]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// parseFloat reads a numeral that is known to be well-formed.
func parseFloat(text []byte) float64 {
	f, _ := strconv.ParseFloat(string(text), 64) // out of range: an infinity comes back, which is what we want
	return f
}

// ParseFloat reads a text that stands for a number, as Python's float does: blanks
// around it, a sign, inf, infinity and nan in any case; but no underscores, and no
// hexadecimal. What is too large becomes an infinity.
func ParseFloat(text string) (f float64, ok bool) {
	text = trimBlanks(text)
	if strings.ContainsAny(text, "xXpP_") { // what only strconv takes
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err == nil || math.IsInf(f, 0) {
		return f, true
	}
	if len(text) == 4 && (text[0] == '+' || text[0] == '-') && strings.EqualFold(text[1:], "nan") {
		return math.NaN(), true
	}
	return 0, false
}

// trimBlanks cuts what isspace of C calls blank from both ends.
func trimBlanks(s string) string { return strings.Trim(s, " \t\n\v\f\r") }
