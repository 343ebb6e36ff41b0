package deadletter

import (
	"slices"
	"strings"
)

// An entry says where a letter is.
type entry struct {
	id      string
	segment *segment
	at      int64  // byte of the file where its frame begins
	length  uint32 // of the payload
}

// An index holds entries in the order of their ids: sorted blocks, none empty, each
// wholly before the next.
type index struct {
	blocks [][]entry
	count  int
}

const blockLen = 256

// find returns the block where an id belongs, and its place there.
func (x *index) find(id string) (block, i int, found bool) {
	block, found = slices.BinarySearchFunc(x.blocks, id, func(b []entry, id string) int { return strings.Compare(b[0].id, id) })
	if found || block == 0 {
		return block, 0, found
	}
	block--
	i, found = slices.BinarySearchFunc(x.blocks[block], id, func(e entry, id string) int { return strings.Compare(e.id, id) })
	return block, i, found
}

func (x *index) has(id string) bool {
	_, _, found := x.find(id)
	return found
}

// insert adds an entry whose id is not there.
func (x *index) insert(e entry) {
	b, i, found := x.find(e.id)
	if found {
		panic("BUG: dead letter " + e.id + " is there already")
	}
	x.count++
	if len(x.blocks) == 0 {
		x.blocks = [][]entry{nil}
	}
	if len(x.blocks[b]) == blockLen {
		b, i = x.split(b, i)
	}
	x.blocks[b] = slices.Insert(x.blocks[b], i, e)
}

// split makes room in a full block, and says where its place i is afterwards.
func (x *index) split(b, i int) (int, int) {
	block, half := x.blocks[b], blockLen/2
	if b == len(x.blocks)-1 && i == blockLen { // ascending ids fill their blocks
		half = blockLen
	}
	x.blocks = slices.Insert(x.blocks, b+1, slices.Clone(block[half:]))
	clear(block[half:])
	x.blocks[b] = block[:half]
	if i > half || half == blockLen {
		return b + 1, i - half
	}
	return b, i
}

// remove takes an entry out.
func (x *index) remove(id string) (e entry, found bool) {
	b, i, found := x.find(id)
	if !found {
		return e, false
	}
	x.count--
	e = x.blocks[b][i]
	block := slices.Delete(x.blocks[b], i, i+1)
	x.blocks[b] = block
	if len(block) == 0 {
		x.blocks = slices.Delete(x.blocks, b, b+1)
	} else if !x.join(b) {
		x.join(b - 1)
	}
	return e, true
}

// join makes one of a block and the next if they are small: else removals leave
// many small blocks.
func (x *index) join(b int) bool {
	if b < 0 || b+1 >= len(x.blocks) || len(x.blocks[b])+len(x.blocks[b+1]) > blockLen/2 {
		return false
	}
	x.blocks[b] = append(x.blocks[b], x.blocks[b+1]...)
	x.blocks = slices.Delete(x.blocks, b+1, b+2)
	return true
}

// after returns up to limit entries whose ids are after a text.
func (x *index) after(text string, limit int) []entry {
	b, i, found := x.find(text)
	if found {
		i++
	}
	page := make([]entry, 0, max(0, min(limit, x.count)))
	for ; b < len(x.blocks) && len(page) < limit; b, i = b+1, 0 {
		rest := x.blocks[b][i:]
		page = append(page, rest[:min(len(rest), limit-len(page))]...)
	}
	return page
}

// all visits every entry in order, until visit fails.
func (x *index) all(visit func(e entry) error) error {
	for _, block := range x.blocks {
		for _, e := range block {
			if err := visit(e); err != nil {
				return err
			}
		}
	}
	return nil
}
