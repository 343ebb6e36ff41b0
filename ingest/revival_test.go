package ingest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// A probedDriver is a fakeDriver whose back-end is asked for signs of life.
type probedDriver struct {
	*fakeDriver
	gone   atomic.Bool // it answers nothing
	opens  atomic.Bool // but it can be opened
	flush  atomic.Pointer[func() error]
	probes atomic.Int64
}

func (d *probedDriver) Probe(context.Context) error {
	d.probes.Add(1)
	if d.gone.Load() {
		return errBackEnd
	}
	return nil
}

// onProbed runs a test with a worker whose back-end is gone; on return it is stopped.
func onProbed(t *testing.T, config WorkerConfig, test func(b *bench, d *probedDriver)) {
	t.Helper()
	onBench(t, config, func(t *testing.T, b *bench) {
		d := &probedDriver{fakeDriver: b.driver}
		d.gone.Store(true)
		d.opens.Store(true)
		b.driver.onFlush = func(context.Context, Sack) error {
			if flush := d.flush.Load(); flush != nil {
				return (*flush)()
			}
			if d.gone.Load() {
				return errBackEnd
			}
			return nil
		}
		b.driver.onOpen = func(Sack) error {
			if d.gone.Load() && !d.opens.Load() {
				return errBackEnd
			}
			return nil
		}
		w := newTestWorker(t, b.log, b)
		w.driver, w.revival = d, newRevival(d, &w.config, w.log)
		b.runWorker(w)
		test(b, d)
		b.stop()
	})
}

// When a back-end that was gone for long is there again, its sacks go on at once, whether
// they try to flush or to open; and one question a second tells, whatever their number.
func TestBackAgain(t *testing.T) {
	for name, opens := range map[string]bool{"flushing": false, "opening": true} {
		t.Run(name, func(t *testing.T) {
			config := WorkerConfig{FlushInterval: time.Second}
			if !opens {
				config.FlushTimeout = time.Hour
			}
			onProbed(t, config, func(b *bench, d *probedDriver) {
				d.opens.Store(!opens)
				one, other := b.write(0, 1), b.write(1, 2)
				b.wait(10 * time.Minute)
				if n := d.probes.Load(); n < 590 || n > 601 {
					t.Errorf("asked for a sign of life %d times in ten minutes, want one each second", n)
				}
				d.gone.Store(false)
				b.wait(1200 * time.Millisecond)
				if opens { // and flushed after its interval
					b.wait(time.Second)
				}
				b.wantValues(0, 1)
				b.wantValues(1, 2)
				b.wantWatermark(0, one)
				b.wantWatermark(1, other)
				b.wait(3 * time.Second)
				n := d.probes.Load()
				b.wait(time.Hour)
				if more := d.probes.Load() - n; more > 0 {
					t.Errorf("asked for a sign of life %d times although nobody pauses", more)
				}
			})
		})
	}
}

// A try that had begun before the back-end was there again, and fails, begins the pauses
// anew.
func TestBackDuringTry(t *testing.T) {
	onProbed(t, WorkerConfig{FlushInterval: time.Second, FlushTimeout: time.Hour}, func(b *bench, d *probedDriver) {
		b.write(0, 1)
		b.wait(5 * time.Minute)
		hang := func() error {
			time.Sleep(20 * time.Second)
			return errBackEnd
		}
		d.flush.Store(&hang)
		b.wait(31 * time.Second) // until it hangs in a try
		d.flush.Store(nil)
		d.gone.Store(false)
		b.wait(21 * time.Second)
		b.wantValues(0, 1)
	})
}

// A back-end that answers, and refuses what it is asked, is left its pauses; and so is one
// that has said how long to wait.
func TestNotBack(t *testing.T) {
	refused := errors.New("the token is not accepted")
	for name, err := range map[string]error{"refuses": refused, "says when": RetryAfter(refused, 20*time.Second)} {
		t.Run(name, func(t *testing.T) {
			onProbed(t, WorkerConfig{FlushInterval: time.Second, FlushTimeout: time.Hour}, func(b *bench, d *probedDriver) {
				var tries atomic.Int64
				refuse := func() error {
					tries.Add(1)
					return err
				}
				d.flush.Store(&refuse)
				d.gone.Store(name != "refuses")
				b.write(0, 1)
				b.wait(10 * time.Minute)
				before := tries.Load()
				d.gone.Store(false)
				b.wait(9 * time.Second)
				if n := tries.Load(); before > 70 || n > before+1 {
					t.Errorf("tried %d times in ten minutes, and %d times in the nine seconds after", before, n-before)
				}
				d.flush.Store(nil)
			})
		})
	}
}

// A back-end that comes and goes is not asked the more for it: that it was there again ends
// pauses the more seldom, the more often it didn't last.
func TestBackForMoments(t *testing.T) {
	onProbed(t, WorkerConfig{FlushInterval: time.Second, FlushTimeout: time.Hour}, func(b *bench, d *probedDriver) {
		var tries atomic.Int64
		refuse := func() error {
			tries.Add(1)
			return errBackEnd
		}
		d.flush.Store(&refuse)
		b.write(0, 1)
		for range 600 {
			b.wait(time.Second)
			d.gone.Store(!d.gone.Load())
		}
		if n := tries.Load(); n > 150 {
			t.Errorf("tried %d times in ten minutes", n)
		}
		d.flush.Store(nil)
		d.gone.Store(false)
		b.wait(time.Minute)
		b.wantValues(0, 1)
	})
}
