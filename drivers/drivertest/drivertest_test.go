package drivertest

import (
	"context"
	"fmt"
	"testing"

	"millrace/drivers/naive"
	"millrace/ingest"
)

// Driver, on naive, is tested where naive is. Here: the suite's faults, on a naive
// driver that can fail, and (mutants_test.go) that the suite finds what is wrong.
func TestRunWithFaults(t *testing.T) {
	RunWithFaults(t, func(_ *testing.T, policies ingest.Policies, faults *Faults) ingest.Driver {
		return flakyDriver{naive.New(policies), faults}
	}, ExpiredKept())
}

func TestProcesses(t *testing.T) {
	open := func(_ *testing.T, policies ingest.Policies) ingest.Driver { return naive.New(policies) }
	start := func(_ *testing.T, policies ingest.Policies) func() ingest.Driver {
		shared := naive.New(policies)
		return func() ingest.Driver { return shared }
	}
	s := newSuite(t, open, []Option{Processes(start)})
	s.severalProcesses(t)
}

func TestLateKept(t *testing.T) {
	open := func(_ *testing.T, p ingest.Policies) ingest.Driver { return naive.New(endless{p.(*policies)}) }
	s := newSuite(t, open, []Option{LateKept(), ExpiredKept()})
	s.meaning(t)
	s.shorter *= 5
	s.random(t)
}

// A flakyDriver fails before or after naive has done what was asked.
type flakyDriver struct {
	*naive.Driver
	faults *Faults
}

func (d flakyDriver) Open(ctx context.Context, sack ingest.Sack) (ingest.SackWriter, ingest.Watermark, error) {
	var w ingest.SackWriter
	var watermark ingest.Watermark
	err := flaky(d.faults, func() (err error) {
		w, watermark, err = d.Driver.Open(ctx, sack)
		return err
	})
	if err != nil {
		return nil, ingest.Watermark{}, err
	}
	return flakyWriter{w, d.faults}, watermark, nil
}

func (d flakyDriver) Read(ctx context.Context, queries []ingest.Query, dst [][]ingest.Measure,
	at ingest.Position) (shown ingest.Position, err error) {
	err = flaky(d.faults, func() (err error) {
		shown, err = d.Driver.Read(ctx, queries, dst, at)
		return err
	})
	return shown, err
}

func (d flakyDriver) Late(ctx context.Context, metrics []ingest.MetricID) (late []uint64, err error) {
	err = flaky(d.faults, func() (err error) {
		late, err = d.Driver.Late(ctx, metrics)
		return err
	})
	return late, err
}

type flakyWriter struct {
	ingest.SackWriter
	faults *Faults
}

func (w flakyWriter) Apply(ctx context.Context, records []ingest.Delivery) (rejects []ingest.Reject, err error) {
	err = flaky(w.faults, func() (err error) {
		rejects, err = w.SackWriter.Apply(ctx, records)
		return err
	})
	return rejects, err
}

func (w flakyWriter) Flush(ctx context.Context, to ingest.Watermark) (rejects []ingest.Reject, err error) {
	err = flaky(w.faults, func() (err error) {
		rejects, err = w.SackWriter.Flush(ctx, to)
		return err
	})
	return rejects, err
}

func (w flakyWriter) Maintain(ctx context.Context) error {
	return flaky(w.faults, func() error { return w.SackWriter.Maintain(ctx) })
}

func flaky(faults *Faults, do func() error) error {
	fault := faults.Next()
	if fault == FailFirst {
		return fmt.Errorf("nothing done: %w", ErrFault)
	}
	if err := do(); err != nil || fault == NoFault {
		return err
	}
	return fmt.Errorf("answer lost: %w", ErrFault)
}
