package storetest

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"millrace/drivers/carbonara"
)

// Memory is a store in a map: the contract in its shortest form.
type Memory struct {
	hashes bool // versions are hashes of the bytes

	mu      sync.Mutex
	objects map[string]memoryObject
	states  uint64 // versions given out
	closed  bool
}

type memoryObject struct {
	data     []byte
	version  carbonara.Version
	modified time.Time
}

// NewMemory returns an empty store, whose versions count its swaps.
func NewMemory() *Memory { return &Memory{objects: map[string]memoryObject{}} }

// NewHashing returns an empty store whose versions are hashes of the bytes, as an
// ETag is: it relies on those who swap to make them unique.
func NewHashing() *Memory { return &Memory{hashes: true, objects: map[string]memoryObject{}} }

// Mark returns a function that brings the store back to what it is now.
func (m *Memory) Mark() (back func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := maps.Clone(m.objects)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.objects = maps.Clone(before)
	}
}

// begin takes the lock, which the caller lets go.
func (m *Memory) begin(ctx context.Context) error {
	m.mu.Lock()
	if m.closed {
		return errors.New("the store is closed")
	}
	return ctx.Err()
}

func (m *Memory) set(name string, data []byte, version carbonara.Version) error {
	if int64(len(data)) > maxMemoryObject {
		return fmt.Errorf("cannot store %s: %d bytes", name, len(data))
	}
	m.objects[name] = memoryObject{bytes.Clone(data), version, time.Now()}
	return nil
}

// Put stores an object.
func (m *Memory) Put(ctx context.Context, name string, data []byte) error {
	err := m.begin(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.set(name, data, "")
}

// Read reads ranges of an object, or all of it.
func (m *Memory) Read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	err := m.begin(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return carbonara.Contents{}, err
	}
	o, ok := m.objects[name]
	if !ok {
		return carbonara.Contents{}, carbonara.ErrNotFound
	}
	if unless != "" && o.version == unless {
		return carbonara.Contents{}, carbonara.ErrUnchanged
	}
	c := carbonara.Contents{Size: int64(len(o.data)), Version: o.version}
	if len(ranges) == 0 {
		ranges = []carbonara.Range{{Off: 0, Len: c.Size}}
	}
	for _, r := range ranges {
		from := min(r.Off, c.Size)
		if r.Off < 0 {
			from = max(0, c.Size-r.Len)
		}
		c.Data = append(c.Data, append([]byte{}, o.data[from:from+min(r.Len, c.Size-from)]...))
	}
	return c, nil
}

// Swap replaces an object if its version is still old.
func (m *Memory) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	adds []carbonara.Addition) (carbonara.Version, error) {
	err := m.begin(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return "", err
	}
	if m.objects[name].version != old {
		return "", carbonara.ErrChanged
	}
	for _, a := range adds {
		if o, ok := m.objects[a.Name]; !ok || int64(len(o.data)) != a.Size {
			return "", fmt.Errorf("%s: %w", a.Name, carbonara.ErrMissing)
		}
	}
	m.states++
	version := carbonara.Version(strconv.FormatUint(m.states, 10))
	if m.hashes {
		version = carbonara.Version(fmt.Sprintf("%x", md5.Sum(data)))
	}
	return version, m.set(name, data, version)
}

// List returns the objects below a prefix.
func (m *Memory) List(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	err := m.begin(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var all []carbonara.Object
	for name, o := range m.objects {
		if strings.HasPrefix(name, prefix) {
			all = append(all, carbonara.Object{Name: name, Size: int64(len(o.data)), Modified: o.modified})
		}
	}
	slices.SortFunc(all, func(a, b carbonara.Object) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Delete removes objects.
func (m *Memory) Delete(ctx context.Context, names []string) error {
	err := m.begin(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if len(names) > memoryDeleteBatch {
		return fmt.Errorf("cannot delete %d objects at once", len(names))
	}
	for _, name := range names {
		delete(m.objects, name)
	}
	return nil
}

const (
	maxMemoryObject   = 16 << 20
	memoryDeleteBatch = 1000
)

// Traits: it goes back when a test wants it to.
func (m *Memory) Traits() carbonara.Traits {
	return carbonara.Traits{MaxObject: maxMemoryObject, DeleteBatch: memoryDeleteBatch, MayGoBack: true}
}

// Close forgets everything.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.objects = nil
	return nil
}
