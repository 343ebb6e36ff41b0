package influxdb

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"millrace/ingest"
)

// A follower describes the metrics of a tenure: those that are new at once, and all of
// them now and then, also those that were described before it, of which it writes what has
// changed. Nothing depends on it.
type follower struct {
	driver *Driver
	sack   ingest.Sack
	opened time.Time
	all    bool       // said has those, too; follow's alone
	turn   sync.Mutex // held while some are described, or deleted

	mu   sync.Mutex
	said map[ingest.MetricID]uint64 // hash of what InfluxDB has of each metric; 0: nothing yet
	new  []ingest.MetricID          // not described yet
	next time.Time                  // when all are looked at again
}

// describedAtOnce is how many metrics are looked up, and written, in one go.
const describedAtOnce = 500

var descriptionSeed = maphash.MakeSeed()

// newFollower returns nil where nobody knows what things are called now, or wants to.
func newFollower(d *Driver, sack ingest.Sack) *follower {
	if d.describer == nil {
		return nil
	}
	now := time.Now()
	return &follower{driver: d, sack: sack, opened: now, said: make(map[ingest.MetricID]uint64),
		next: now.Add(d.config.DescribeEvery)}
}

// saw hears of metrics that have measures: of the series that have a text.
func (f *follower) saw(series []seriesPart) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range series {
		id := series[i].metric
		if _, known := f.said[id]; !known && series[i].text != "" {
			f.said[id] = 0
			f.new = append(f.new, id)
		}
	}
}

// follow describes what is due.
func (f *follower) follow(ctx context.Context) error {
	if f == nil {
		return nil
	}
	now := time.Now()
	unread := f.remember(ctx, now) // then those that were seen are described all the same
	due := f.due(now)
	for len(due) > 0 {
		some := due[:min(describedAtOnce, len(due))]
		if err := f.describe(ctx, some); err != nil {
			f.mu.Lock()
			f.new = append(f.new, due...)
			f.mu.Unlock()
			return errors.Join(unread, failed(fmt.Sprintf("describe %d metrics", len(due)), err))
		}
		due = due[len(some):]
	}
	return unread
}

// remember finds out which metrics were described before, once: when all are to be looked at
// for the first time, or the next one if that fails.
func (f *follower) remember(ctx context.Context, now time.Time) error {
	f.mu.Lock()
	isDue := !now.Before(f.next)
	f.mu.Unlock()
	if f.all || !isDue {
		return nil
	}
	list, err := f.driver.described.take(ctx, f.sack, f.driver.config.Sacks, f.opened)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range list {
		if _, known := f.said[id]; !known {
			f.said[id] = 0
		}
	}
	f.all = true
	return nil
}

// due takes the metrics that are to be looked at.
func (f *follower) due(now time.Time) []ingest.MetricID {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := f.new
	f.new = nil
	if !now.Before(f.next) {
		due, f.next = slices.Collect(maps.Keys(f.said)), now.Add(f.driver.config.DescribeEvery)
	}
	return due
}

// describe looks some metrics up and writes what InfluxDB hasn't got.
func (f *follower) describe(ctx context.Context, some []ingest.MetricID) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	list, err := f.driver.describer.Describe(ctx, some)
	if err != nil {
		return err
	}
	today := dayOf(time.Now())
	var lines []byte
	fresh := make(map[ingest.MetricID]uint64)
	f.mu.Lock()
	for i, id := range some {
		if !list[i].Known {
			delete(f.said, id)
			continue
		}
		n := len(lines)
		lines = appendDescription(lines, id, &list[i], today)
		if hash := maphash.Bytes(descriptionSeed, lines[n:]) | 1; f.said[id] == hash {
			lines = lines[:n]
		} else {
			fresh[id] = hash
		}
	}
	f.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	err = f.driver.writeLines(ctx, lines)
	if e, ok := errors.AsType[*statusError](err); ok && e.blamesLines() {
		// Whatever it dislikes will be no better next time.
		f.driver.log.Warn("InfluxDB refuses some of what metrics are called", "metrics", len(fresh), "err", err)
		err = nil
	}
	if err == nil {
		f.mu.Lock()
		maps.Copy(f.said, fresh)
		f.mu.Unlock()
	}
	return err
}

// forget hears that metrics are deleted, and keeps others from describing them meanwhile.
func (f *follower) forget(list []tombstone) (done func()) {
	if f == nil {
		return func() {}
	}
	f.turn.Lock()
	f.mu.Lock()
	for _, t := range list {
		delete(f.said, t.metric)
	}
	f.mu.Unlock()
	return f.turn.Unlock
}

// appendDescription appends the line that says what a metric is called at a time. All are
// texts: the fields of a name must be of one type in a whole bucket.
func appendDescription(dst []byte, id ingest.MetricID, d *ingest.Description, at int64) []byte {
	dst = append(dst, descriptions+",metric="...)
	dst = id.AppendText(dst)
	dst = appendField(append(dst, ' '), "name", d.Name)
	dst = appendField(append(dst, ','), "resource", d.Resource)
	dst = appendField(append(dst, ','), "resource_type", d.ResourceType)
	dst = appendField(append(dst, ','), "project", d.Project)
	dst = appendField(append(dst, ','), "user", d.User)
	for _, a := range d.Attributes {
		dst = appendField(append(dst, ','), "attribute_"+a.Name, a.Text)
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, at, 10)
	return append(dst, '\n')
}

// maxDescribed bounds a text: InfluxDB takes 64 KiB.
const maxDescribed = 32 << 10

// appendField appends a field that is a text.
func appendField(dst []byte, key, text string) []byte {
	dst = append(appendEscaped(dst, key), '=')
	return appendText(dst, validText(text[:min(len(text), maxDescribed)]))
}
