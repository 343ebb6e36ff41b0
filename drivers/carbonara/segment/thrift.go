package segment

import (
	"encoding/binary"
	"errors"
)

// Types of the thrift compact protocol:
// https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12
	thriftStop   = 0
)

var errThrift = errors.New("malformed thrift structure")

// thriftDepth is how deep a footer may be nested.
const thriftDepth = 16

// skipThrift returns what follows a structure. It is how the library's decoder is
// kept from allocating lists that the bytes cannot hold: it believes their lengths.
func skipThrift(src []byte, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, errThrift
	}
	for len(src) > 0 {
		head := src[0]
		src = src[1:]
		if head == thriftStop {
			return src, nil
		}
		var err error
		if head>>4 == 0 { // The field's number follows, instead of its distance.
			if src, err = skipThriftVarint(src); err != nil {
				return nil, err
			}
		}
		if kind := head & 0xf; kind != thriftTrue && kind != thriftFalse { // These have no bytes in a field.
			if src, err = skipThriftValue(src, kind, depth); err != nil {
				return nil, err
			}
		}
	}
	return nil, errThrift
}

func skipThriftValue(src []byte, kind byte, depth int) ([]byte, error) {
	n := 0
	switch kind {
	case thriftI16, thriftI32, thriftI64:
		return skipThriftVarint(src)
	case thriftStruct:
		return skipThrift(src, depth-1)
	case thriftList, thriftSet:
		return skipThriftList(src, depth)
	case thriftTrue, thriftFalse, thriftByte:
		n = 1
	case thriftDouble:
		n = 8
	case thriftBinary:
		size, m := binary.Uvarint(src)
		if m <= 0 || size > uint64(len(src)-m) {
			return nil, errThrift
		}
		n = m + int(size)
	default: // No structure of Parquet has a map.
		return nil, errThrift
	}
	if len(src) < n {
		return nil, errThrift
	}
	return src[n:], nil
}

func skipThriftList(src []byte, depth int) ([]byte, error) {
	if len(src) == 0 {
		return nil, errThrift
	}
	kind, size := src[0]&0xf, uint64(src[0]>>4)
	src = src[1:]
	if size == 0xf {
		var m int
		if size, m = binary.Uvarint(src); m <= 0 {
			return nil, errThrift
		}
		src = src[m:]
	}
	least := uint64(1)
	if kind == thriftStruct {
		least = 3 // The shortest in a footer is a ColumnOrder.
	}
	if size > uint64(len(src))/least {
		return nil, errThrift
	}
	for range size {
		var err error
		if src, err = skipThriftValue(src, kind, depth); err != nil {
			return nil, err
		}
	}
	return src, nil
}

func skipThriftVarint(src []byte) ([]byte, error) {
	_, n := binary.Uvarint(src)
	if n <= 0 {
		return nil, errThrift
	}
	return src[n:], nil
}
