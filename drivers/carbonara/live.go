package carbonara

import (
	"context"

	"millrace/ingest"
)

// snapshot returns what a reader in the owner's process sees of metrics, which
// ascend: manifest and open table of one moment. It is nil when this is not, or not
// known to be, the owner any more: then what is stored counts.
//
// Where others may take the sack over, the table answers only for as long as the stored
// manifest has been seen to be ours not long ago. That costs a conditional read now and
// then, while somebody reads.
func (w *writer) snapshot(ctx context.Context, metrics []ingest.MetricID) *state {
	if !w.isOwner(ctx) {
		return nil
	}
	s := &state{
		live: true, buffered: make([][]ingest.Measure, len(metrics)), newest: make([]int64, len(metrics)),
		late: make([]uint64, len(metrics)), gone: make([]bool, len(metrics)),
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.ended != nil || w.closed {
		return nil
	}
	s.view, s.position = w.shown, w.next
	all := make([]ingest.Measure, 0, w.table.expected(len(metrics)))
	begins := make([]int, 0, len(metrics)+1)
	for i, id := range metrics {
		s.newest[i] = ingest.MinTime
		s.gone[i] = w.deleted[id]
		begins = append(begins, len(all))
		if at, ok := w.table.index[id]; ok {
			m := &w.table.metrics[at]
			s.newest[i], s.late[i] = m.newest, m.late
			all = w.table.chain(at, all)
		}
	}
	begins = append(begins, len(all))
	for i := range metrics {
		s.buffered[i] = all[begins[i]:begins[i+1]:begins[i+1]]
	}
	return s
}

// isOwner says whether the stored manifest was seen to be ours within ViewTTL, having
// looked if need be.
func (w *writer) isOwner(ctx context.Context) bool {
	if w.driver.store.Traits().Exclusive || w.isSeen() {
		return true
	}
	w.committing.Lock()
	defer w.committing.Unlock()
	if w.isSeen() { // by whoever held the lock
		return true
	}
	if w.usable(ctx) != nil {
		return false
	}
	if len(w.attempts) > 0 { // to be settled by who owns the sack: as long as it isn't clear, nobody else does
		return false
	}
	return w.lookLocked(ctx, w.version) == nil
}

func (w *writer) isSeen() bool {
	age := w.driver.config.Now().Sub(w.seen.Load().at)
	return age >= 0 && age < w.driver.config.ViewTTL
}
