package influxdb

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"millrace/ingest"
)

// One read serves all sacks, and a sack that is given back meanwhile doesn't wait for it.
func TestCatalog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		c := catalog{turn: make(chan struct{}, 1), read: func(_ context.Context, visit func(ingest.MetricID)) error {
			reads++
			time.Sleep(time.Minute)
			for i := range 16 {
				visit(ingest.MetricID{byte(i), byte(i)})
			}
			return nil
		}}
		opened := time.Now()
		take := func(ctx context.Context, sack ingest.Sack) (int, error) {
			list, err := c.take(ctx, sack, 2, opened)
			return len(list), err
		}
		var first int
		go func() { first, _ = take(t.Context(), 0) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := take(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || time.Since(opened) > time.Second {
			t.Errorf("%v after %v", err, time.Since(opened))
		}
		second, err := take(t.Context(), 1)
		synctest.Wait()
		if err != nil || first+second != 16 || reads != 1 {
			t.Errorf("%d and %d metrics, read %d times: %v", first, second, reads, err)
		}
		if again, err := take(t.Context(), 0); err != nil || again != first || reads != 2 { // a later tenure
			t.Errorf("%d metrics, having been read %d times: %v", again, reads, err)
		}
	})
}
