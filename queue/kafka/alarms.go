package kafka

import (
	"sync"
	"time"
)

// alarms keeps what may be said thousands of times from being said more than now and
// then.
type alarms struct {
	mu   sync.Mutex
	said map[string]time.Time
}

const alarmEvery = 10 * time.Second

func (a *alarms) due(what string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if now.Sub(a.said[what]) < alarmEvery {
		return false
	}
	if a.said == nil {
		a.said = make(map[string]time.Time)
	}
	a.said[what] = now
	return true
}

func (a *alarms) warn(l *Log, what string, args ...any) {
	if a.due(what) {
		l.log.Warn(what, args...)
	}
}

// maxClockSkew is how far a broker's clock and ours may be apart: by it measures are
// told to be too far ahead, and by the broker's the topic's retention counts.
const maxClockSkew = time.Minute

func (a *alarms) clock(l *Log, ahead time.Duration) {
	if ahead.Abs() <= maxClockSkew {
		return
	}
	l.metrics.alarm("clock")
	if a.due("clock") {
		l.log.Error("ALARM: this machine's clock and the broker's are apart", "ours_ahead_by", ahead.Round(time.Second))
	}
}
