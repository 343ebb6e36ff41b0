package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"go.opentelemetry.io/otel/metric"

	"millrace/disk"
)

// reserveName is the file in the data directory that holds room for when the disk is full.
const reserveName = "reserve"

const (
	leastFlushRoom = 4 << 20     // of a deployment with small flushes
	startRoom      = 3 << 20     // what a start needs: the database's own files, a manifest, a lock
	reserveEvery   = time.Second // how often the reserve is filled, when it isn't full
)

// reserveSize is how much of the disk is kept for the flush that a full one needs (one of
// a sack, as it is in memory, which is more than it takes in the storage), and for the
// next start, which comes after flushes may have used up the rest.
func (c *config) reserveSize() int64 {
	return startRoom + max(leastFlushRoom, int64(c.flushBytes()))
}

// minRoom is the least that the log has to leave of its disk: where the storage is on it, too,
// a flush, without which the log never becomes shorter.
func (c *config) minRoom() size {
	if c.Queue.Driver != "disklog" {
		return 0
	}
	if c.Storage.Driver == "file" {
		return max(1<<20, c.flushBytes())
	}
	return 1 << 20
}

// whyRoom says where minRoom comes from.
func (c *config) whyRoom() string {
	if c.Storage.Driver == "file" && c.flushBytes() > 1<<20 {
		return ", which is worker.flush_bytes: on a full disk the log becomes shorter only when the storage has room for " +
			"a flush"
	}
	return ", which the log needs to be reopened in"
}

// openReserve finds the data directory's reserve, and gives so much of it up that a start
// has room.
func (p *parts) openReserve(c *config, log *slog.Logger, t *telemetry) (err error) {
	p.reserve, err = disk.NewReserve(disk.OS{}, filepath.Join(c.DataDir, reserveName), c.reserveSize(), startRoom)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, lastFill{p.reserve, log})
	free, err := p.reserve.MakeRoom(startRoom)
	if err != nil {
		return err
	}
	if free < startRoom {
		log.Warn("the disk of the data directory is full, and the reserve is used up: a start may fail", "free", free)
	}
	_, err = t.meter.Int64ObservableGauge("millrace.disk.reserve", metric.WithUnit("By"),
		metric.WithDescription("room on the disk of the data directory that is kept for when it is full"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			held, _ := p.reserve.Held()
			o.Observe(held)
			return nil
		}))
	return err
}

// A lastFill takes back what a stop leaves: the database's own log is gone then.
type lastFill struct {
	reserve *disk.Reserve
	log     *slog.Logger
}

func (l lastFill) Close() error {
	if _, err := l.reserve.Fill(); err != nil { // no reason for a stop to fail
		l.log.Warn("cannot keep a reserve on the disk for when it is full", "err", err)
	}
	return nil
}

// keepReserve fills the reserve when it can, until ctx ends.
func (p *parts) keepReserve(ctx context.Context, log *slog.Logger) {
	p.reserve.Run(ctx, reserveEvery, func(held, size int64, err error) {
		switch {
		case err != nil:
			log.Warn("cannot keep a reserve on the disk for when it is full", "held", held, "wanted", size, "err", err)
		case held < size:
			log.Warn("the disk of the data directory is full: the reserve is given up to what must be written", "held", held,
				"wanted", size)
		default:
			log.Info("the disk has its reserve", "bytes", held)
		}
	})
}

// rescue is the disk for what must be written although it is full.
func (p *parts) rescue() disk.FS {
	if p.reserve == nil {
		return disk.OS{}
	}
	return p.reserve.Rescue()
}

// guard is the disk for what must leave the reserve alone.
func (p *parts) guard() disk.FS {
	if p.reserve == nil {
		return disk.OS{}
	}
	return p.reserve.Guard()
}
