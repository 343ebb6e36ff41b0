package testservers

import (
	"fmt"
	"io"
	"os/exec"
	"sync"
)

// reaper ends what a test binary has started, and deletes its data, when the binary is
// gone: after the last test, a panic, a timeout, a kill. It is a shell that reads what to
// do from a pipe, and does it when the pipe's other end closes.
type reaper struct {
	once sync.Once
	err  error

	mu  sync.Mutex
	out io.Writer
}

// theReaper is one, as the process is: its end is what it waits for.
var theReaper reaper

const reaperScript = `
trap '' INT TERM HUP
groups=' ' folders=
while read -r what which; do
	case $what in
	group) groups="$groups$which " ;;
	forget) groups="${groups%% $which *} ${groups#* $which }" ;;
	folder) folders="$folders $which" ;;
	esac
done
for group in $groups; do kill -KILL "-$group" "$group" 2>/dev/null; done
sleep 0.2
[ -z "$folders" ] || rm -rf $folders
`

func (r *reaper) tell(what string, which any) error {
	r.once.Do(func() {
		shell := exec.Command("/bin/sh", "-c", reaperScript)
		shell.SysProcAttr = ownGroup(nil)
		r.out, r.err = shell.StdinPipe()
		if r.err == nil {
			r.err = shell.Start() // nobody waits for it: it outlives us
		}
	})
	if r.err != nil {
		return fmt.Errorf("cannot start what would end the servers: %w", r.err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := fmt.Fprintln(r.out, what, which)
	return err
}
