package aggregate

import "slices"

// order appends x to dst (which is empty) in the order of value: NaN last, equal
// values in the order in which they came. Only −0 and +0 are equal and yet differ.
func order(dst, x []float64) []float64 {
	for _, v := range x {
		if v == v {
			dst = append(dst, v)
		}
	}
	numbers := dst
	slices.Sort(numbers)
	if zero, found := slices.BinarySearch(numbers, 0); found {
		for _, v := range x {
			if v == 0 {
				numbers[zero] = v
				zero++
			}
		}
	}
	if len(numbers) < len(x) {
		for _, v := range x {
			if v != v {
				dst = append(dst, v)
			}
		}
	}
	return dst
}

// median of ordered values: the middle one, or half the sum of the middle two.
func median(ordered []float64) float64 {
	n := len(ordered)
	if n%2 == 1 {
		return ordered[n/2]
	}
	return (ordered[n/2-1] + ordered[n/2]) / 2
}

// percentile interpolates linearly between the two values around the rank
// (n-1)·q/100, as numpy's default and Excel's PERCENTILE.INC do. A rank that is a
// whole number is that value alone, so that an infinite neighbour has no say.
// The conversions prevent fused multiplication, as in deviation.
func percentile(ordered []float64, q int) float64 {
	h := float64((len(ordered)-1)*q) / 100
	lo := int(h)
	if float64(lo) == h {
		return ordered[lo]
	}
	hi := lo + 1
	return float64(ordered[lo]*(float64(hi)-h)) + float64(ordered[hi]*(h-float64(lo)))
}
