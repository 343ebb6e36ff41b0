package diskfault

import (
	"io"
	"os"
	"syscall"
	"time"
)

// file is an open file. What it does is guarded by the FS's mutex.
type file struct {
	fs    *FS
	name  string
	inode *inode
	flag  int

	at     int64
	closed bool
}

// begin is FS.begin for an operation on an open file.
func (h *file) begin(kind Kind) error {
	err := h.fs.begin(kind, h.name)
	if h.closed {
		return os.ErrClosed
	}
	return err
}

func (h *file) Write(b []byte) (int, error) {
	err := h.begin(Write)
	defer h.fs.mu.Unlock()
	if h.flag&os.O_APPEND != 0 {
		h.at = h.inode.current.size
	}
	n, err := h.write(b, h.at, err)
	h.at += int64(n)
	return n, err
}

func (h *file) WriteAt(b []byte, off int64) (int, error) {
	err := h.begin(Write)
	defer h.fs.mu.Unlock()
	return h.write(b, off, err)
}

// write does as much of a write as an injected error lets it.
func (h *file) write(b []byte, off int64, err error) (int, error) {
	if short, ok := err.(shortWrite); ok {
		b, err = b[:len(b)/2], short.error
	} else if err != nil {
		return 0, pathError("write", h.name, err)
	}
	if h.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return 0, pathError("write", h.name, syscall.EBADF)
	}
	fits, cost := h.inode.current.fit(off, int64(len(b)), h.fs.free)
	if fits < int64(len(b)) {
		b, err = b[:fits], syscall.ENOSPC
	}
	h.fs.free -= cost
	if len(b) > 0 {
		h.inode.write(b, off)
	}
	if err == nil {
		err = h.fs.end()
	}
	return len(b), pathError("write", h.name, err)
}

func (n *inode) write(b []byte, off int64) {
	n.pending = append(n.pending, change{off: off, data: append([]byte(nil), b...)})
	n.current.writeAt(b, off)
	n.modified = time.Now()
}

func (n *inode) truncate(size int64) (freed int64) {
	n.pending = append(n.pending, change{off: size, truncate: true})
	n.modified = time.Now()
	return n.current.truncate(size)
}

func (h *file) ReadAt(b []byte, off int64) (int, error) {
	err := h.begin(Read)
	defer h.fs.mu.Unlock()
	_, flip := err.(flippedBit)
	if err != nil && !flip {
		return 0, pathError("read", h.name, err)
	}
	if h.flag&os.O_WRONLY != 0 {
		return 0, pathError("read", h.name, syscall.EBADF)
	}
	n := h.inode.current.readAt(b, off)
	if flip && n > 0 {
		b[n/2] ^= 1
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Sync makes the file's bytes durable, not its name. When it fails for an injected
// error, then as on Linux: the bytes can still be read, most likely they are not
// on the device, and the next Sync succeeds without putting them there.
func (h *file) Sync() error {
	err := h.begin(Sync)
	defer h.fs.mu.Unlock()
	n := h.inode
	switch {
	case h.closed || h.fs.crashed:
		if err == nil {
			err = ErrCrashed
		}
	case err != nil:
		n.lost = len(n.pending)
	default:
		for _, c := range n.pending[n.lost:] {
			n.durable.apply(c)
		}
		n.pending, n.lost = nil, 0
	}
	return pathError("fdatasync", h.name, err)
}

func (h *file) Truncate(size int64) error {
	err := h.begin(Truncate)
	defer h.fs.mu.Unlock()
	if err == nil && h.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		err = syscall.EINVAL
	}
	if err == nil {
		h.fs.free += h.inode.truncate(size)
		err = h.fs.end()
	}
	return pathError("truncate", h.name, err)
}

func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return 0, pathError("stat", h.name, os.ErrClosed)
	}
	return h.inode.current.size, pathError("stat", h.name, h.fs.end())
}

func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return pathError("close", h.name, os.ErrClosed)
	}
	h.closed = true
	return nil
}
