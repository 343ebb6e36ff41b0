package ingest

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
)

// A Position says how far the log had been written when something was accepted,
// or how far it has been applied: one exclusive offset per sack. A sack that a
// request did not touch is at 0, which is always applied.
type Position []Offset

// A Ticket is what a client gets for a 202: the position of its records and what
// became of its measures at the door.
type Ticket struct {
	Position Position
	First    Position // for each sack touched, the offset of the request's first record
	Accepted uint64   // measures in the log
	Refused  uint64   // measures refused at once (handling=lenient)
}

// ErrTicket says that a text is not a ticket of this deployment.
var ErrTicket = errors.New("malformed position")

const ticketVersion = 1

var ticketEncoding = base64.RawURLEncoding.Strict() // one token per ticket

// String returns the opaque token for the ticket: version, counts, sack count, then
// for each sack touched (gap from the last one, offset, distance back to the first
// record) as varints, and a CRC-32C, in unpadded URL-safe base64.
func (t Ticket) String() string {
	b := []byte{ticketVersion}
	b = binary.AppendUvarint(b, t.Accepted)
	b = binary.AppendUvarint(b, t.Refused)
	b = binary.AppendUvarint(b, uint64(len(t.Position)))
	gap := uint64(0)
	for s, off := range t.Position {
		if off == 0 {
			gap++
			continue
		}
		b = binary.AppendUvarint(b, gap)
		b = binary.AppendUvarint(b, uint64(off))
		b = binary.AppendUvarint(b, uint64(off-t.First[s]))
		gap = 0
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return ticketEncoding.EncodeToString(b)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseTicket reads a token made by String for a deployment of that many sacks.
func ParseTicket(token string, sacks int) (Ticket, error) {
	var t Ticket
	b, err := ticketEncoding.DecodeString(token)
	if err != nil || len(b) < 5 || b[0] != ticketVersion {
		return t, ErrTicket
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return t, ErrTicket
	}
	body = body[1:]
	next := func() uint64 {
		v, n := binary.Uvarint(body)
		if n <= 0 {
			err = ErrTicket
			body = nil
			return 0
		}
		body = body[n:]
		return v
	}
	t.Accepted, t.Refused = next(), next()
	if n := next(); err != nil || n != uint64(sacks) {
		return Ticket{}, ErrTicket
	}
	t.Position, t.First = make(Position, sacks), make(Position, sacks)
	for sack := uint64(0); err == nil && len(body) > 0; sack++ {
		gap := next()
		if gap >= uint64(sacks) || sack+gap >= uint64(sacks) {
			return Ticket{}, ErrTicket
		}
		sack += gap
		off, back := next(), next()
		if off == 0 || off > math.MaxInt64 || back == 0 || back > off {
			return Ticket{}, ErrTicket
		}
		t.Position[sack], t.First[sack] = Offset(off), Offset(off-back)
	}
	if err != nil {
		return Ticket{}, err
	}
	return t, nil
}

// Reached says whether a log applied up to p has applied everything up to q.
func (p Position) Reached(q Position) bool {
	for s, off := range q {
		if off > 0 && (s >= len(p) || p[s] < off) {
			return false
		}
	}
	return true
}

// Add moves p forward to cover q as well; both have the same length.
func (p Position) Add(q Position) {
	for s, off := range q {
		p[s] = max(p[s], off)
	}
}
