package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A Hinter tells how far the owners of sacks say that they have come. It is one cheap
// question for all sacks, and only a hint: what counts is what the back-end shows.
type Hinter interface {
	// Hints sets dst[s] to the watermark that the owner of sack s has told last, or
	// leaves it when it has told none.
	Hints(ctx context.Context, dst []Offset) error
}

// FollowConfig tunes a Follower. The zero value of a field means its default.
type FollowConfig struct {
	Busy   time.Duration // how often to ask while somebody waits; 20 ms with a Hinter, else 200 ms
	Sure   time.Duration // how often to ask the back-end while somebody waits and no hint has come; 1 s
	Idle   time.Duration // how often to ask while nobody waits; 5 s
	Answer time.Duration // how long an answer may take; 5 s
}

// A Follower moves a Progress by what a back-end says of the sacks that this process
// does not own, and has their owners flush when somebody waits.
type Follower struct {
	progress *Progress
	marks    Watermarker
	hints    Hinter   // nil: none
	log      Appender // takes the nudges; nil: none are sent
	config   FollowConfig
	logger   *slog.Logger

	hinted []Offset    // the last hints
	asked  []time.Time // when the back-end was asked about a sack
	nudged []Offset    // of each sack's last nudge, the watermark behind it; 0: none is on its way

	nudging sync.WaitGroup
	mu      sync.Mutex // guards nudged
}

// NewFollower returns a Follower. Hints and log may be nil.
func NewFollower(progress *Progress, marks Watermarker, hints Hinter, log Appender, config FollowConfig,
	logger *slog.Logger) *Follower {
	if hints != nil {
		setDefault(&config.Busy, 20*time.Millisecond)
	}
	setDefault(&config.Busy, 200*time.Millisecond)
	setDefault(&config.Sure, time.Second)
	setDefault(&config.Idle, 5*time.Second)
	setDefault(&config.Answer, 5*time.Second)
	n := len(progress.sacks)
	return &Follower{
		progress: progress, marks: marks, hints: hints, log: log, config: config, logger: logger,
		hinted: make([]Offset, n), asked: make([]time.Time, n), nudged: make([]Offset, n),
	}
}

// Run follows until ctx ends. Nobody waiting, it asks every few seconds.
func (f *Follower) Run(ctx context.Context) {
	defer f.nudging.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-f.progress.waiting:
		}
		needs := f.progress.needs()
		f.nudge(ctx, needs)
		f.look(ctx, needs)
		if len(f.progress.needs()) > 0 {
			timer.Reset(f.config.Busy)
		} else {
			timer.Reset(f.config.Idle)
		}
	}
}

// needs returns, for each sack that isn't ours and that somebody waits for, the least
// that is waited for.
func (p *Progress) needs() map[Sack]Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	var needs map[Sack]Offset
	for s := range p.sacks {
		sack := &p.sacks[s]
		if sack.owned {
			continue
		}
		for _, w := range sack.waiters {
			if w.wait.gone {
				continue
			}
			if needs == nil {
				needs = make(map[Sack]Offset)
			}
			if least, ok := needs[Sack(s)]; !ok || w.need < least {
				needs[Sack(s)] = w.need
			}
		}
	}
	return needs
}

// look asks the back-end about the sacks of which it may show what is waited for, and
// about every sack now and then.
func (f *Follower) look(ctx context.Context, needs map[Sack]Offset) {
	ctx, cancel := context.WithTimeout(ctx, f.config.Answer)
	defer cancel()
	now := time.Now()
	if f.hints != nil && len(needs) > 0 {
		if err := f.hints.Hints(ctx, f.hinted); err != nil && ctx.Err() == nil {
			f.logger.Debug("cannot get hints of how far others have applied", "err", err)
		}
	}
	var ask []Sack
	for s := range f.asked {
		sack := Sack(s)
		need, waited := needs[sack]
		since := now.Sub(f.asked[s])
		switch {
		case f.progress.owns(sack):
			continue
		case waited && f.hints == nil, waited && f.hinted[s] >= need, waited && since >= f.config.Sure,
			since >= f.config.Idle:
			ask = append(ask, sack)
			f.asked[s] = now
		}
	}
	if len(ask) == 0 {
		return
	}
	at := make([]Offset, len(ask))
	err := f.marks.Watermarks(ctx, ask, at)
	for i, sack := range ask {
		if err != nil {
			f.progress.followFailed(sack, fmt.Errorf("cannot tell how far the sack has been applied: %w", err))
			continue
		}
		backlog, known := f.backlog(ctx, sack, at[i])
		f.progress.follow(sack, at[i], backlog, known, now)
	}
}

// backlog is what waits behind a watermark, if that can be told.
func (f *Follower) backlog(ctx context.Context, sack Sack, from Offset) (Backlog, bool) {
	if f.progress.source == nil {
		return Backlog{}, false
	}
	b, err := f.progress.source.Backlog(ctx, sack, from)
	return b, err == nil
}

func (p *Progress) owns(sack Sack) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sacks[sack].owned
}

// follow says how far somebody else has applied the sack, and what waits behind that.
// The age of the oldest of it counts from when the log says that it was accepted, within
// what this process has seen of the log's end: whatever the clock of the process that
// accepted it says.
func (p *Progress) follow(sack Sack, watermark Offset, backlog Backlog, known bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	if s.owned { // since we asked: we know better
		return
	}
	if known {
		from := max(watermark, backlog.From)
		s.arrivals.note(from, backlog.End, now)
		s.oldest = time.Time{}
		if backlog.Records > 0 {
			s.oldest = s.arrivals.clamp(from, backlog.Oldest)
		}
	}
	s.watermark, s.known, s.err = watermark, true, nil
	s.sweep()
}

func (p *Progress) followFailed(sack Sack, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	if s.owned {
		return
	}
	if s.err == nil {
		s.since = time.Now()
	}
	s.err = err
}

// nudge writes a nudge into the log for each sack that is waited for, one at a time:
// whoever comes before it has been applied is served by the next one.
func (f *Follower) nudge(ctx context.Context, needs map[Sack]Offset) {
	if f.log == nil {
		return
	}
	var out []Outgoing
	f.mu.Lock()
	for sack := range needs {
		if f.nudged[sack] <= f.progress.watermark(sack) {
			f.nudged[sack] = onItsWay
			out = append(out, Outgoing{Sack: sack, Record: &Record{Kind: RecordNudge, AcceptedAt: time.Now().UTC()}})
		}
	}
	f.mu.Unlock()
	if len(out) == 0 {
		return
	}
	f.nudging.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, f.config.Answer)
		defer cancel()
		err := f.log.Append(ctx, out)
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, o := range out {
			f.nudged[o.Sack] = o.Offset + 1
			if err != nil {
				f.nudged[o.Sack] = 0
			}
		}
		if err != nil && ctx.Err() == nil {
			f.logger.Warn("cannot ask for a flush", "err", err)
		}
	})
}

// onItsWay stands for the offset of a nudge that the log has not yet answered.
const onItsWay = Offset(1<<63 - 1)

func (p *Progress) watermark(sack Sack) Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sacks[sack].watermark
}
