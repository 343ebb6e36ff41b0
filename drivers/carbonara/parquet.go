package carbonara

import (
	"context"

	"millrace/ingest"
)

const notWritten = "BUG: not written"

type rawEncoder struct{}

func newRawEncoder() *rawEncoder                       { return &rawEncoder{} }
func (e *rawEncoder) add(run rawRun)                   { panic(notWritten) }
func (e *rawEncoder) late(totals []lateTotal)          { panic(notWritten) }
func (e *rawEncoder) rows() int64                      { panic(notWritten) }
func (e *rawEncoder) size() int64                      { panic(notWritten) }
func (e *rawEncoder) finish() ([]byte, segment, error) { panic(notWritten) }

type stateEncoder struct{}

func newStateEncoder() *stateEncoder                     { return &stateEncoder{} }
func (e *stateEncoder) add(row stateRow)                 { panic(notWritten) }
func (e *stateEncoder) rows() int64                      { panic(notWritten) }
func (e *stateEncoder) size() int64                      { panic(notWritten) }
func (e *stateEncoder) finish() ([]byte, segment, error) { panic(notWritten) }

type sealedEncoder struct{}

func newSealedEncoder(methods []ingest.Method) *sealedEncoder { return &sealedEncoder{} }
func (e *sealedEncoder) add(run sealedRun)                    { panic(notWritten) }
func (e *sealedEncoder) rows() int64                          { panic(notWritten) }
func (e *sealedEncoder) size() int64                          { panic(notWritten) }
func (e *sealedEncoder) finish() ([]byte, segment, error)     { panic(notWritten) }

var _, _, _ encoder = &rawEncoder{}, &stateEncoder{}, &sealedEncoder{}

type segmentFile struct{}

func openSegment(ctx context.Context, store Store, name string, size int64) (*segmentFile, error) {
	panic(notWritten)
}

func (f *segmentFile) memory() int64                               { panic(notWritten) }
func (f *segmentFile) lates() ([]lateTotal, error)                 { panic(notWritten) }
func (f *segmentFile) methods() []ingest.Method                    { panic(notWritten) }
func (f *segmentFile) verify(ctx context.Context, d segment) error { panic(notWritten) }

func (f *segmentFile) findRaw(ctx context.Context, metrics []ingest.MetricID, from, to int64,
	visit func(i int, measures []ingest.Measure, policy string) error) error {
	panic(notWritten)
}

func (f *segmentFile) findState(ctx context.Context, metrics []ingest.MetricID,
	visit func(i int, row stateRow) error) error {
	panic(notWritten)
}

func (f *segmentFile) findSealed(ctx context.Context, wants []sealedWant,
	visit func(i int, rows []ingest.Measure) error) error {
	panic(notWritten)
}

type (
	rawScan    struct{}
	stateScan  struct{}
	sealedScan struct{}
)

func (f *segmentFile) scanRaw(ctx context.Context) *rawScan       { panic(notWritten) }
func (f *segmentFile) scanState(ctx context.Context) *stateScan   { panic(notWritten) }
func (f *segmentFile) scanSealed(ctx context.Context) *sealedScan { panic(notWritten) }

func (s *rawScan) next() bool        { panic(notWritten) }
func (s *rawScan) run() rawRun       { panic(notWritten) }
func (s *rawScan) err() error        { panic(notWritten) }
func (s *stateScan) next() bool      { panic(notWritten) }
func (s *stateScan) row() stateRow   { panic(notWritten) }
func (s *stateScan) err() error      { panic(notWritten) }
func (s *sealedScan) next() bool     { panic(notWritten) }
func (s *sealedScan) run() sealedRun { panic(notWritten) }
func (s *sealedScan) err() error     { panic(notWritten) }
