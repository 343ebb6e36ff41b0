package carbonara

import "runtime"

// paceRows is how many rows a merge or a seal handles in a fraction of a millisecond.
const paceRows = 2048

// A pace lets others have the processor now and then: a merge or a seal, which nobody
// waits for, would else keep one for the ten milliseconds that Go gives it at a time, and
// what a client waits for would stand behind it again and again.
type pace struct{ rows int }

// spent counts rows that have been handled.
func (p *pace) spent(rows int) {
	if p.rows += rows; p.rows >= paceRows {
		p.rows = 0
		runtime.Gosched()
	}
}
