package ingest

import "context"

// An Assigner says which sacks this process is to own: all of them, always, where the
// log is embedded; a share that changes as workers come and go where many processes
// share a log. It decides who should own a sack; who does own it, the driver's
// epoch decides.
type Assigner interface {
	// Run calls assign with every new set of sacks, in order, and returns nil when ctx
	// has ended and the process has left its group, so that others may take over at
	// once. Held is asked for what the process owns whenever the members settle who gets
	// what: of two who claim a sack the higher epoch keeps it. Neither of them blocks.
	Run(ctx context.Context, held func() []Claim, assign func(Assignment)) error

	// Confirm returns nil when it has become certain, after the call, that the last
	// assignment is still in force. A worker that was fenced asks before it opens the
	// sack again: else two of them would throw each other out for ever.
	Confirm(ctx context.Context) error

	// Applied tells others how far a sack has been applied: a hint, for their lag and
	// for when to look. It does not block and may be dropped.
	Applied(sack Sack, at Watermark)
}

// An Assignment is what a process is to own from now on.
type Assignment struct {
	Generation int64 // grows with every assignment
	Sacks      []Sack
}

// A Claim is a sack that a process owns, with the epoch of its ownership.
type Claim struct {
	Sack  Sack
	Epoch uint64
}

// Everything assigns all sacks to this process: it is the only one.
type Everything int

// Run assigns once and waits for ctx to end.
func (n Everything) Run(ctx context.Context, _ func() []Claim, assign func(Assignment)) error {
	all := Assignment{Generation: 1}
	for s := range Sack(n) {
		all.Sacks = append(all.Sacks, s)
	}
	assign(all)
	<-ctx.Done()
	return nil
}

// Confirm has nobody to ask.
func (n Everything) Confirm(ctx context.Context) error { return ctx.Err() }

// Applied has nobody to tell.
func (n Everything) Applied(Sack, Watermark) {}
