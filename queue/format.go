package queue

import (
	"hash/crc32"
	"math"
	"time"
)

// Version is the version of the record format that AppendRecord writes, the first
// byte of every record.
const Version = 2

// Where things are in the fixed part of a record's head.
const (
	checksumAt   = 1 // CRC-32C of every other byte
	kindAt       = 5
	acceptedAtAt = 6
	headLen      = 14
)

const (
	idLen    = 16
	valueLen = 8
	// minEntryLen and minMeasureLen are what an entry and a measure take at least:
	// they bound what a count can claim.
	minEntryLen   = idLen + 1 + 1
	minMeasureLen = 1 + valueLen
)

// noTime stands for the zero time.Time, which has no nanoseconds since 1970.
const noTime = math.MinInt64

// The instants that int64 nanoseconds can say, but for noTime.
var (
	minTime = time.Unix(0, math.MinInt64+1)
	maxTime = time.Unix(0, math.MaxInt64)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers a whole record but for the checksum itself.
func checksum(record []byte) uint32 {
	sum := crc32.Update(0, castagnoli, record[:checksumAt])
	return crc32.Update(sum, castagnoli, record[kindAt:])
}

// zigzag maps small numbers of either sign to small unsigned ones.
func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
