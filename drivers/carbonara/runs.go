package carbonara

// runsOf groups segments that were written as one: a run that was too large for
// one object is cut into several, one after the other in the order of rows.
func runsOf(segments []entry) [][]entry {
	var runs [][]entry
	for _, s := range segments {
		if n := len(runs); n > 0 && s.Run != "" && runs[n-1][0].Run == s.Run {
			runs[n-1] = append(runs[n-1], s)
			continue
		}
		runs = append(runs, []entry{s})
	}
	return runs
}

// A rowScan walks a segment: rows come in runs of R.
type rowScan[R any] interface {
	Next() bool
	Run() R
	Err() error
}

// A runScan walks the segments of one run, one after the other: it holds a row
// group of one of them.
type runScan[R any] struct {
	left []entry                           // not begun
	open func(s entry) (rowScan[R], error) // with a segmentError
	scan rowScan[R]
	name string // of the segment that is scanned

	head R
	live bool // head counts; false at the end, and after a failure
	err  error
}

// newRunScan returns a scan that stands on its first rows.
func newRunScan[R any](run []entry, open func(s entry) (rowScan[R], error)) *runScan[R] {
	s := &runScan[R]{left: run, open: open}
	s.advance()
	return s
}

// advance moves to the next rows.
func (s *runScan[R]) advance() {
	for s.err == nil {
		if s.scan != nil {
			if s.live = s.scan.Next(); s.live {
				s.head = s.scan.Run()
				return
			}
			if err := s.scan.Err(); err != nil {
				s.err = &segmentError{s.name, err}
				return
			}
		}
		if s.live = false; len(s.left) == 0 {
			return
		}
		s.name = s.left[0].Name
		s.scan, s.err = s.open(s.left[0])
		s.left = s.left[1:]
	}
	s.live = false
}

// A segmentError is what kept a segment from being read.
type segmentError struct {
	name string
	err  error // names the object
}

func (e *segmentError) Error() string { return e.err.Error() }
func (e *segmentError) Unwrap() error { return e.err }
