package influxdb

import (
	"context"
	"fmt"
	"sync"

	"millrace/ingest"
)

// A seriesCache knows what begins the lines of metrics, which never changes. It keeps
// between one and two halves of its size: when the young half is full, the old is dropped.
type seriesCache struct {
	labeler ingest.Labeler
	half    int // bytes

	mu         sync.Mutex
	young, old map[ingest.MetricID]string
	bytes      int // of young
}

// perSeries is about what an entry of the map takes beside its text.
const perSeries = 64

func newSeriesCache(labeler ingest.Labeler, size int) *seriesCache {
	return &seriesCache{labeler: labeler, half: size / 2, young: make(map[ingest.MetricID]string)}
}

// find sets the texts of series. Metrics that don't exist any more keep the empty text.
func (c *seriesCache) find(ctx context.Context, list []seriesPart) error {
	var unknown []ingest.MetricID
	var places []int
	c.mu.Lock()
	for i := range list {
		if text, ok := c.lookUp(list[i].metric); ok {
			list[i].text = text
		} else {
			unknown, places = append(unknown, list[i].metric), append(places, i)
		}
	}
	c.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	labels, err := c.labeler.Labels(ctx, unknown)
	if err != nil {
		return fmt.Errorf("cannot look up the labels of %d metrics: %w", len(unknown), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var text []byte
	for i, id := range unknown {
		if !labels[i].Known {
			continue
		}
		text = AppendSeries(text[:0], id, &labels[i])
		s := &list[places[i]]
		s.text = string(text)
		c.keep(id, s.text)
	}
	return nil
}

// lookUp finds a metric. The caller holds mu.
func (c *seriesCache) lookUp(id ingest.MetricID) (string, bool) {
	if series, ok := c.young[id]; ok {
		return series, true
	}
	series, ok := c.old[id]
	if ok {
		c.keep(id, series)
	}
	return series, ok
}

// keep adds a metric. The caller holds mu.
func (c *seriesCache) keep(id ingest.MetricID, series string) {
	if c.bytes > c.half {
		c.old, c.young, c.bytes = c.young, make(map[ingest.MetricID]string), 0
	}
	c.young[id] = series
	c.bytes += len(series) + perSeries
}
