package diskfault

import (
	"fmt"
	"maps"
	"math/rand/v2"
)

// Survival says what a disk shows, after a crash, of what was not made durable.
type Survival int

// What survives, of bytes and of names. Each file and each change of names has its
// own fate.
const (
	Nothing    Survival = iota
	Everything          //
	Some                // of names: any of the changes, or none; of bytes: a prefix, torn anywhere
	Holes               // of bytes only: any of the pages; where one is missing is what was there before, or zeros
	Garbage             // of bytes only: a prefix, then noise where more had been written
)

// String names it.
func (s Survival) String() string {
	return [...]string{"nothing", "everything", "some", "holes", "garbage"}[s]
}

// A Mode picks one of the disks that a machine could find after a crash.
type Mode struct {
	Bytes, Names Survival
	Seed         uint64
}

// String says "bytes: holes, names: some, seed 3".
func (m Mode) String() string {
	return fmt.Sprintf("bytes: %s, names: %s, seed %d", m.Bytes, m.Names, m.Seed)
}

// Modes returns a mode of every sort; the seed is for those that leave it to luck.
func Modes(seed uint64) []Mode {
	return []Mode{
		{Bytes: Nothing, Names: Nothing},
		{Bytes: Everything, Names: Everything},
		{Bytes: Nothing, Names: Everything}, // the empty file that a rename without fsync leaves
		{Bytes: Everything, Names: Nothing},
		{Bytes: Some, Names: Everything, Seed: seed},
		{Bytes: Holes, Names: Everything, Seed: seed},
		{Bytes: Garbage, Names: Everything, Seed: seed},
		{Bytes: Everything, Names: Some, Seed: seed},
		{Bytes: Some, Names: Some, Seed: seed},
		{Bytes: Some, Names: Some, Seed: seed + 1<<32},
		{Bytes: Holes, Names: Some, Seed: seed},
		{Bytes: Garbage, Names: Some, Seed: seed},
	}
}

// Crash cuts the power, if it is not off already, and returns the disk as the mode
// would have it, with all of it durable, no locks, no faults and the same free space. It
// may be called again for another mode: the disks have nothing in common.
func (f *FS) Crash(mode Mode) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	after := &FS{locks: map[*inode]bool{}, free: f.free, inodes: f.inodes}
	s := salvage{mode: mode, names: map[*inode]map[string]*inode{}, saved: map[*inode]*inode{}}
	s.renames(f.pending)
	after.root = s.inode(f.root)
	return after
}

// Restart ends the process, not the machine: the FS it returns has everything, what
// was not durable still is not, and locks are free. The old one is dead, and only
// the new one may be crashed.
func (f *FS) Restart() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	return &FS{root: f.root, inodes: f.inodes, pending: f.pending, locks: map[*inode]bool{}, free: f.free}
}

// A salvage is one disk in the making.
type salvage struct {
	mode  Mode
	names map[*inode]map[string]*inode // of folders of the old disk, where they aren't just the durable ones
	saved map[*inode]*inode            // old to new
}

func (s *salvage) renames(pending []rename) {
	luck := rand.New(rand.NewPCG(s.mode.Seed, 0))
	for _, r := range pending {
		survives := luck.IntN(2) == 0
		if s.mode.Names == Nothing || s.mode.Names == Some && !survives {
			continue
		}
		for _, l := range r {
			if s.names[l.dir] == nil {
				s.names[l.dir] = maps.Clone(l.dir.durableNames)
			}
			set(s.names[l.dir], l)
		}
	}
}

func (s *salvage) inode(old *inode) *inode {
	if n := s.saved[old]; n != nil {
		return n
	}
	n := &inode{id: old.id, isDir: old.isDir, modified: old.modified}
	s.saved[old] = n
	if !old.isDir {
		n.current = s.content(old)
		n.durable = n.current.clone()
		return n
	}
	names := s.names[old]
	if names == nil {
		names = old.durableNames
	}
	n.names = make(map[string]*inode, len(names))
	for name, to := range names {
		n.names[name] = s.inode(to)
	}
	n.durableNames = maps.Clone(n.names)
	return n
}

func (s *salvage) content(n *inode) content {
	c := n.durable.clone()
	luck := rand.New(rand.NewPCG(s.mode.Seed, n.id))
	switch s.mode.Bytes {
	case Everything:
		for _, ch := range n.pending {
			c.apply(ch)
		}
	case Some:
		prefix(&c, n.pending, luck, false)
	case Garbage:
		prefix(&c, n.pending, luck, true)
	case Holes:
		holes(&c, n, luck)
	}
	return c
}

// prefix applies the changes up to one that is cut anywhere, if it is a write; of
// those behind the cut the lengths come through as well, filled with noise, when
// noise is asked for.
func prefix(c *content, pending []change, luck *rand.Rand, noise bool) {
	total := int64(0)
	for _, ch := range pending {
		total += weight(ch)
	}
	left := cut(total, luck)
	for _, ch := range pending {
		keep := min(left, weight(ch))
		left -= keep
		switch {
		case keep == weight(ch):
			c.apply(ch)
		case ch.truncate:
			return
		case noise:
			torn := append([]byte(nil), ch.data...)
			for i := keep; i < int64(len(torn)); i++ {
				torn[i] = byte(luck.Uint32())
			}
			c.writeAt(torn, ch.off)
		default:
			c.writeAt(ch.data[:keep], ch.off)
			return
		}
	}
}

// weight is how many places a change has where it can be cut.
func weight(ch change) int64 {
	if ch.truncate {
		return 1
	}
	return int64(len(ch.data))
}

// cut chooses how much of total survives: anything, the edges more often.
func cut(total int64, luck *rand.Rand) int64 {
	switch luck.IntN(8) {
	case 0:
		return 0
	case 1:
		return max(0, total-1)
	case 2:
		return min(1, total)
	}
	return luck.Int64N(total + 1)
}

// holes gives every page that was written the old bytes or the new ones; the file
// has its new length.
func holes(c *content, n *inode, luck *rand.Rand) {
	if len(n.pending) == 0 {
		return
	}
	end := c.clone()
	written := map[int64]bool{}
	for _, ch := range n.pending {
		end.apply(ch)
		eachPage(ch.off, int64(len(ch.data)), func(i int64, _, _ int, _ int64) { written[i] = true })
	}
	c.truncate(end.size)
	for i := range (end.size + pageSize - 1) / pageSize {
		if p := end.pages[i]; p != nil && written[i] && luck.IntN(2) == 0 {
			c.writeAt(p.data[:min(pageSize, end.size-i*pageSize)], i*pageSize)
		}
	}
}
