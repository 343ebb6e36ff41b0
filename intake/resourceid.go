package intake

import (
	"crypto/sha1"
	"errors"
	"strings"
	"unicode/utf8"

	"millrace/index"
	"millrace/ingest"
)

// resourceNamespace is the namespace of the UUIDs that stand for textual resource
// ids: 0a7a15ff-aa13-4ac2-897c-9bdf30ce175b.
var resourceNamespace = [16]byte{
	0x0a, 0x7a, 0x15, 0xff, 0xaa, 0x13, 0x4a, 0xc2, 0x89, 0x7c, 0x9b, 0xdf, 0x30, 0xce, 0x17, 0x5b,
}

// maxResourceID bounds a resource id that is not a UUID, in characters.
const maxResourceID = 289

// ResourceID maps a resource id to a UUID, the same id of two callers to two: a
// UUID to itself, any other text to the version 5 UUID (RFC 9562) of the text, a
// NUL and the caller's creator string.
func ResourceID(text, creator string) (index.ResourceID, error) {
	if strings.Contains(text, "/") {
		return index.ResourceID{}, errors.New("'/' is not supported in resource id")
	}
	if id, err := ingest.ParseMetricID(text); err == nil {
		return id, nil
	}
	if utf8.RuneCountInString(text) > maxResourceID {
		return index.ResourceID{}, errors.New("transformable resource id >289 max allowed characters")
	}
	h := sha1.New()
	h.Write(resourceNamespace[:])
	h.Write([]byte(text + "\x00" + creator))
	id := index.ResourceID(h.Sum(nil)[:16])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}
