package kafka

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/segmentio/kafka-go"

	"millrace/ingest"
)

// balancer is the sticky kafka.GroupBalancer of the workers: sacks stay where they are
// as long as nobody has more than one above anybody else, so that a worker which comes
// or goes moves as few as can be.
type balancer struct {
	topic string
	sacks int
	held  func() []ingest.Claim // what this process owns; asked for at every join
}

// claimsVersion is the first byte of a member's user data.
const claimsVersion = 1

// ProtocolName names the protocol; members of one group share it.
func (b *balancer) ProtocolName() string { return "millrace-sticky-1" }

// UserData is what this member owns: a version, then for each sack its number and the
// epoch of its ownership, as varints.
func (b *balancer) UserData() ([]byte, error) { return appendClaims(nil, b.held()), nil }

func appendClaims(dst []byte, claims []ingest.Claim) []byte {
	dst = append(dst, claimsVersion)
	for _, c := range claims {
		dst = binary.AppendUvarint(dst, uint64(c.Sack))
		dst = binary.AppendUvarint(dst, c.Epoch)
	}
	return dst
}

// parseClaims reads what appendClaims writes. A member that says nothing, or what makes
// no sense, owns nothing: it is given sacks like a new one.
func parseClaims(data []byte, sacks int) []ingest.Claim {
	if len(data) == 0 || data[0] != claimsVersion {
		return nil
	}
	data = data[1:]
	var claims []ingest.Claim
	for len(data) > 0 {
		sack, n := binary.Uvarint(data)
		if n <= 0 {
			return nil
		}
		epoch, m := binary.Uvarint(data[n:])
		if m <= 0 || sack >= uint64(sacks) {
			return nil
		}
		data = data[n+m:]
		claims = append(claims, ingest.Claim{Sack: ingest.Sack(sack), Epoch: epoch})
	}
	return claims
}

// AssignGroups shares the sacks out. Of two who claim one the higher epoch keeps it.
func (b *balancer) AssignGroups(members []kafka.GroupMember, _ []kafka.Partition) kafka.GroupMemberAssignments {
	names := make([]string, 0, len(members))
	claims := make(map[string][]ingest.Claim, len(members))
	for _, m := range members {
		names = append(names, m.ID)
		claims[m.ID] = parseClaims(m.UserData, b.sacks)
	}
	shares := assign(names, claims, b.sacks)
	assignments := make(kafka.GroupMemberAssignments, len(members))
	for _, name := range names {
		assignments[name] = map[string][]int{b.topic: shares[name]}
	}
	return assignments
}

// assign gives every sack to one member, the same whoever computes it: each member gets
// sacks/members, and those who hold most get one of those that are left over.
func assign(members []string, claims map[string][]ingest.Claim, sacks int) map[string][]int {
	members = slices.Clone(members)
	owner := make([]string, sacks)
	epochs := make([]uint64, sacks)
	slices.Sort(members)
	for _, name := range members {
		for _, c := range claims[name] {
			if owner[c.Sack] == "" || c.Epoch > epochs[c.Sack] {
				owner[c.Sack], epochs[c.Sack] = name, c.Epoch
			}
		}
	}
	held := make(map[string]int, len(members))
	for _, name := range owner {
		held[name]++
	}
	byHeld := slices.Clone(members)
	slices.SortStableFunc(byHeld, func(a, b string) int { return cmp.Compare(held[b], held[a]) })
	quota := make(map[string]int, len(members))
	for i, name := range byHeld {
		quota[name] = sacks / len(members)
		if i < sacks%len(members) {
			quota[name]++
		}
	}
	shares := make(map[string][]int, len(members))
	var free []int
	for sack, name := range owner {
		if name != "" && len(shares[name]) < quota[name] {
			shares[name] = append(shares[name], sack)
		} else {
			free = append(free, sack)
		}
	}
	for _, name := range members {
		n := quota[name] - len(shares[name])
		shares[name] = append(shares[name], free[:n]...)
		free = free[n:]
		slices.Sort(shares[name])
	}
	return shares
}
