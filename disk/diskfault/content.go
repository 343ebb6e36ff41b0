package diskfault

import "maps"

// pageSize is what a device writes, or doesn't, as a whole.
const pageSize = 4096

// content is the bytes of a file, without memory for holes.
type content struct {
	size  int64
	pages map[int64]*page
}

// A page is never changed once a second content may share it.
type page struct {
	used int // bytes up to here have been charged
	data [pageSize]byte
}

// clone shares the pages of c, so c must not be written any more, or copied.
func (c *content) clone() content {
	d := content{size: c.size, pages: maps.Clone(c.pages)}
	for i, p := range d.pages {
		q := *p
		d.pages[i] = &q
	}
	return d
}

func (c *content) readAt(b []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	b = b[:min(int64(len(b)), c.size-off)]
	clear(b)
	eachPage(off, int64(len(b)), func(i int64, from, to int, done int64) {
		if p := c.pages[i]; p != nil {
			copy(b[done:], p.data[from:to])
		}
	})
	return len(b)
}

func (c *content) writeAt(b []byte, off int64) {
	if c.pages == nil {
		c.pages = map[int64]*page{}
	}
	eachPage(off, int64(len(b)), func(i int64, from, to int, done int64) {
		p := c.pages[i]
		if p == nil {
			p = new(page)
			c.pages[i] = p
		}
		copy(p.data[from:to], b[done:])
		p.used = max(p.used, to)
	})
	c.size = max(c.size, off+int64(len(b)))
}

// fit says how many of n bytes at off fit into free bytes, and what they take of it.
func (c *content) fit(off, n, free int64) (fits, cost int64) {
	eachPage(off, n, func(i int64, from, to int, done int64) {
		if fits < done {
			return // an earlier page is full already
		}
		fresh := from // bytes before it are charged already
		if p := c.pages[i]; p != nil {
			fresh = min(max(from, p.used), to)
		}
		take := min(int64(to-fresh), free-cost)
		cost += take
		fits = done + int64(fresh-from) + take
	})
	return fits, cost
}

// truncate sets the size and returns how many bytes that frees.
func (c *content) truncate(size int64) (freed int64) {
	for i, p := range c.pages {
		switch keep := size - i*pageSize; {
		case keep <= 0:
			freed += int64(p.used)
			delete(c.pages, i)
		case keep < pageSize:
			clear(p.data[keep:])
			freed += max(0, int64(p.used)-keep)
			p.used = min(p.used, int(keep))
		}
	}
	c.size = size
	return freed
}

// charged is how many bytes of the free space the content has taken.
func (c *content) charged() (n int64) {
	for _, p := range c.pages {
		n += int64(p.used)
	}
	return n
}

// eachPage splits n bytes at off by pages: bytes [from, to) of page i are those
// after the first done.
func eachPage(off, n int64, do func(i int64, from, to int, done int64)) {
	for done := int64(0); done < n; {
		i, from := (off+done)/pageSize, int((off+done)%pageSize)
		to := int(min(pageSize, int64(from)+n-done))
		do(i, from, to, done)
		done += int64(to - from)
	}
}
