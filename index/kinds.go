package index

// A kind is the number of an archive policy and a creator: what accepting a
// measure needs to know about a metric, and what many metrics have in common.
// 0 is none.
type kind uint32

// kinds numbers them from 1.
type kinds struct {
	list    []MetricInfo // by number
	numbers map[MetricInfo]kind
}

// number returns the number of a pair; false when there are too many.
func (k *kinds) number(info MetricInfo) (kind, bool) {
	if number, ok := k.numbers[info]; ok { // Fast path.
		return number, true
	}
	if k.numbers == nil {
		k.list, k.numbers = make([]MetricInfo, 1), make(map[MetricInfo]kind)
	}
	if len(k.list) > maxKinds {
		return 0, false
	}
	number := kind(len(k.list))
	k.list = append(k.list, info)
	k.numbers[info] = number
	return number, true
}
