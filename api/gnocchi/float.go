package gnocchi

import (
	"math"
	"math/bits"
	"strconv"
)

// AppendFloat appends the shortest text that reads back as v, as Python's repr
// has it: 60.0, 43.1, 1e-07, 1e+16. What is not finite becomes null.
func AppendFloat(dst []byte, v float64) []byte {
	abs := math.Abs(v)
	switch {
	case abs < 1e12 && float64(thousandths(abs))/1000 == abs:
		return appendThousandths(appendSign(dst, v), thousandths(abs))
	case abs >= minShortest && abs < maxShortest:
		return appendShortest(appendSign(dst, v), abs)
	case math.IsNaN(v) || math.IsInf(v, 0):
		return append(dst, "null"...)
	case abs >= 1e16 || abs < 1e-4:
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	}
	dst = strconv.AppendFloat(dst, v, 'f', -1, 64)
	if v == math.Trunc(v) {
		dst = append(dst, ".0"...)
	}
	return dst
}

func appendSign(dst []byte, v float64) []byte {
	if math.Signbit(v) {
		return append(dst, '-')
	}
	return dst
}

// thousandths is abs, below 10^12, in thousandths, rounded.
//
// Most of what is measured has no more than three decimals. Of the decimals with up
// to 15 digits no two read as the same float64, so when this many thousandths read
// as abs, they are the shortest decimal that does.
func thousandths(abs float64) uint64 { return uint64(int64(abs*1000 + 0.5)) }

func appendThousandths(dst []byte, n uint64) []byte {
	dst = strconv.AppendUint(dst, n/1000, 10)
	f := byte(n % 1000 / 100)
	dst = append(dst, '.', '0'+f)
	if rest := byte(n % 100); rest != 0 {
		dst = append(dst, '0'+rest/10)
		if rest %= 10; rest != 0 {
			dst = append(dst, '0'+rest)
		}
	}
	return dst
}

// What appendShortest can do: the float64s m × 2^e, 2^52 ≤ m < 2^53,
// with -62 ≤ e ≤ -1.
const (
	minShortest = 1.0 / (1 << 10)
	maxShortest = 1 << 52
)

// appendShortest appends the shortest decimal that reads as v, a positive float64 in
// the range above.
//
// It is Schubfach (Raffaello Giulietti, "The Schubfach way to render doubles",
// 2020) for the exponents where no table of powers is needed, because 128 bits hold
// everything: in units of 10^-k, k chosen such that the interval of reals that
// round to v is between one and ten units wide, there is at least one whole number in
// the interval and at most one multiple of ten. The multiple of ten is shorter;
// without it, the whole number next to v is the best that this many digits can do.
//
// The ends of the interval need no care: their 1-e binary places take as many
// decimal ones, more than k. Nor do powers of two, whose interval is narrower
// below: here their own decimals are fewer than k.
func appendShortest(dst []byte, v float64) []byte {
	m, e := math.Float64bits(v)&(1<<52-1)|1<<52, int(math.Float64bits(v)>>52)-1075
	k := -e*30103/100000 + 1 // ⌈-e·log₁₀2⌉
	shift := uint(1 - e)     // the ends and the middle are multiples of 2^-shift
	low, _ := scale(2*m-1, k, shift)
	high, _ := scale(2*m+1, k, shift)
	if digits := high / 10 * 10; digits > low {
		for k > 1 && digits%10 == 0 {
			digits, k = digits/10, k-1
		}
		return appendFixed(dst, digits, k)
	}
	digits, rest := scale(2*m, k, shift)
	half := uint64(1) << (shift - 1)
	if rest > half || rest == half && digits&1 == 1 {
		digits++
	}
	return appendFixed(dst, digits, k)
}

// scale returns ⌊n·10^k / 2^shift⌋ and what remains, shift < 64.
func scale(n uint64, k int, shift uint) (whole, rest uint64) {
	hi, lo := bits.Mul64(n, powers[k])
	return hi<<(64-shift) | lo>>shift, lo & (1<<shift - 1)
}

// powers has the powers of ten that fit 64 bits.
var powers = [20]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// appendFixed appends digits × 10^-k, k > 0, with k decimals.
func appendFixed(dst []byte, digits uint64, k int) []byte {
	whole := digits / powers[k]
	digits -= whole * powers[k]
	dst = strconv.AppendUint(dst, whole, 10)
	dst = append(dst, '.')
	first := len(dst)
	dst = append(dst, "00000000000000000000"[:k]...)
	i := len(dst)
	for ; i-first >= 8; i -= 8 {
		putEight((*[8]byte)(dst[i-8:]), uint32(digits%1e8))
		digits /= 1e8
	}
	rest := uint32(digits)
	for ; i-first >= 2; i -= 2 {
		pair := rest % 100
		rest /= 100
		dst[i-2], dst[i-1] = digitPairs[2*pair], digitPairs[2*pair+1]
	}
	if i > first {
		dst[first] = '0' + byte(rest)
	}
	return dst
}

// putEight writes the eight digits of n, by halves, so that the divisions don't
// wait for each other.
func putEight(b *[8]byte, n uint32) {
	left, right := n/10000, n%10000
	for i, pair := range [4]uint32{left / 100, left % 100, right / 100, right % 100} {
		b[2*i], b[2*i+1] = digitPairs[2*pair], digitPairs[2*pair+1]
	}
}
