package testservers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports of servers lie below those that the system gives to outgoing connections: a server
// that was killed finds its own free when it comes back.
const firstPort, lastPort = 12000, 31999

var (
	portsMu sync.Mutex
	portsIn = make(map[int]bool) // given away by this process
)

// Port is a port of 127.0.0.1 for a server that the test starts itself: the system gives it
// to no outgoing connection in the meantime, nor does this package to another server.
func Port(t testing.TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// freePort is a port of 127.0.0.1 that nothing listens on.
func freePort() (int, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if portsIn[port] {
			continue
		}
		listener, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		portsIn[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port of 127.0.0.1 from %d to %d in 200 attempts", firstPort, lastPort)
}

// freePorts is n of them.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
