package deadletter

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"millrace/disk"
	"millrace/ingest"
)

// Letters are the dead letters in a folder. The methods may be called concurrently.
// After Close they fail with fs.ErrClosed, but for Count.
type Letters struct {
	fs      disk.FS
	dir     string
	config  Config
	lock    io.Closer
	skipped []*DamageError

	// writing holds one token while somebody writes, who alone uses what follows and
	// changes what mu guards, holding mu as well.
	writing   chan struct{}
	broken    error  // what went wrong: the newest file is never written again
	buf       []byte // of the last group
	number    uint64 // of the newest file
	compactAt int64  // so much garbage makes a rewrite worth it

	mu       sync.Mutex
	segments []*segment // oldest first
	letters  index
	bytes    int64 // what the letters' frames take
	closed   bool
}

var _ ingest.DeadLetters = (*Letters)(nil)

// Skipped lists what Open went on without: see Config.SkipMissing.
func (l *Letters) Skipped() []*DamageError { return l.skipped }

// Count says how many letters there are.
func (l *Letters) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.letters.count
}

// Add returns when the letters are durable: one write and one sync for all. A letter
// whose ID is there already, or was before in the same call, is left alone. It
// is ErrFull when they don't all fit, and then none is added. After any other
// error a crash may bring some of them back; to try again is harmless. It keeps
// nothing of letters.
func (l *Letters) Add(ctx context.Context, letters []ingest.DeadLetter) error {
	if err := l.add(ctx, letters); err != nil {
		return fmt.Errorf("cannot add %d dead letters: %w", len(letters), err)
	}
	return nil
}

func (l *Letters) add(ctx context.Context, letters []ingest.DeadLetter) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.end()
	g := l.group()
	var entries []entry
	seen := map[string]bool{}
	for i := range letters {
		letter := &letters[i]
		if seen[letter.ID] || l.letters.has(letter.ID) {
			continue
		}
		seen[letter.ID] = true
		e, err := g.letter(letter)
		if err != nil {
			return fmt.Errorf("letter %q: %w", letter.ID, err)
		}
		e.segment = l.newest()
		entries = append(entries, e)
		if err := l.mustFit(len(entries), int64(len(g.buf))); err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		return nil
	}
	if err := l.mustHaveRoom(int64(len(g.buf)) + minFree); err != nil {
		return err
	}
	if err := l.write(g); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		l.letters.insert(e)
	}
	l.bytes += int64(len(g.buf))
	return nil
}

// letter adds the frame of a letter.
func (g *group) letter(letter *ingest.DeadLetter) (entry, error) {
	if n := len(letter.ID); n == 0 || n > maxID {
		return entry{}, fmt.Errorf("its id has %d bytes: want 1 to %d", n, maxID)
	}
	start := g.begin()
	g.buf = appendLetter(g.buf, letter)
	at, length, err := g.end(start, kindLetter)
	return entry{id: strings.Clone(letter.ID), at: at, length: length}, err
}

// mustFit says whether so many letters more are within the bounds.
func (l *Letters) mustFit(letters int, bytes int64) error {
	if l.letters.count+letters > l.config.MaxLetters || l.bytes+bytes > l.config.MaxBytes {
		return fmt.Errorf("%w: there are %d, of %d at most, and they take %d bytes, of %d at most: replay or remove some",
			ErrFull, l.letters.count, l.config.MaxLetters, l.bytes, l.config.MaxBytes)
	}
	return nil
}

// mustHaveRoom says whether so many bytes are left of the disk.
func (l *Letters) mustHaveRoom(bytes int64) error {
	free, err := l.fs.Free(l.dir)
	if err != nil {
		return fmt.Errorf("cannot tell how much room there is: %w", err)
	}
	if free < bytes {
		return fmt.Errorf("%w: the disk of %s has %d bytes left, and %d are needed", ErrFull, l.dir, free, bytes)
	}
	return nil
}

// Remove returns when the letters are gone for good. Ids that are not there are no
// error.
func (l *Letters) Remove(ctx context.Context, ids []string) error {
	if err := l.remove(ctx, ids); err != nil {
		return fmt.Errorf("cannot remove %d dead letters: %w", len(ids), err)
	}
	return nil
}

// maxRemoved is how many ids a frame takes: its payload stays far below maxPayload.
const maxRemoved = 1024

func (l *Letters) remove(ctx context.Context, ids []string) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.end()
	there := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !l.letters.has(id) })
	if len(there) == 0 {
		return nil
	}
	g := l.group()
	for some := range slices.Chunk(there, maxRemoved) {
		start := g.begin()
		g.buf = appendIDs(g.buf, some)
		if _, _, err := g.end(start, kindRemoved); err != nil {
			return err
		}
	}
	if err := l.write(g); err != nil {
		return err
	}
	l.mu.Lock()
	for _, id := range there {
		l.forget(id)
	}
	l.mu.Unlock()
	l.tidy()
	return nil
}

func (l *Letters) forget(id string) {
	if e, found := l.letters.remove(id); found {
		l.bytes -= frameLen(e.length)
	}
}

// List returns up to limit letters in the order of their ids, after a text, which
// need not be an id. It waits for nobody who writes, and shows the letters that
// there are when it begins.
func (l *Letters) List(ctx context.Context, after string, limit int) ([]ingest.DeadLetter, error) {
	page, err := l.pin(after, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot list dead letters: %w", err)
	}
	defer l.unpin(page)
	letters := make([]ingest.DeadLetter, len(page))
	for i, e := range page {
		if err = ctx.Err(); err == nil {
			letters[i], err = e.letter()
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list dead letters: %w", err)
		}
	}
	return letters, nil
}

// pin returns entries whose files stay open until unpin.
func (l *Letters) pin(after string, limit int) ([]entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fs.ErrClosed
	}
	page := l.letters.after(after, limit)
	for _, e := range page {
		e.segment.readers++
	}
	return page, nil
}

func (l *Letters) unpin(page []entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range page {
		e.segment.readers--
		e.segment.closeIfUnused()
	}
}

// Close lets go of the folder. Whoever is writing may finish first. A second call
// does nothing.
func (l *Letters) Close() error {
	l.writing <- struct{}{}
	defer l.end()
	if l.closed {
		return nil
	}
	l.mu.Lock()
	l.closed = true
	for _, s := range l.segments {
		s.retire()
	}
	l.mu.Unlock()
	if err := l.lock.Close(); err != nil {
		return fmt.Errorf("cannot unlock the dead letters in %s: %w", l.dir, err)
	}
	return nil
}
