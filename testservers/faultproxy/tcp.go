package faultproxy

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Mode is what a TCP proxy does to what passes. Its zero value does nothing.
type Mode struct {
	// Latency is added to every piece that the client sends.
	Latency time.Duration
	// LoseAnswers passes requests on and keeps what comes back.
	LoseAnswers bool
	// ResetAfter resets a connection when it has passed so many bytes of answers; 0: never.
	ResetAfter int64
	// FlipAnswer changes a bit of each so manieth byte of answers; 0: none.
	FlipAnswer int64
	// Down accepts connections and resets them.
	Down bool
	// Cut passes nothing in either direction and tells nobody, as a network does that has
	// come apart. What was under way is gone: ResetAll when it ends.
	Cut bool
}

// A TCP is a proxy for bytes.
type TCP struct {
	// Addr is where clients connect to.
	Addr string

	target   string
	listener net.Listener
	all      sync.WaitGroup

	mu             sync.Mutex
	mode           Mode
	conns          map[net.Conn]bool
	closed         bool
	sent, received int64
}

// NewTCP starts a proxy before the server at target (host:port).
func NewTCP(target string) (*TCP, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &TCP{Addr: listener.Addr().String(), target: target, listener: listener, conns: make(map[net.Conn]bool)}
	p.all.Go(p.accept)
	return p, nil
}

// Close ends the proxy and all connections through it.
func (p *TCP) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.ResetAll()
	p.all.Wait()
	return err
}

// Set changes what happens from now on, on connections that are there too.
func (p *TCP) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
}

// ResetAll resets all connections; what is under way on them is lost.
func (p *TCP) ResetAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		p.resetLocked(conn)
	}
}

// Bytes is how many have passed in either direction.
func (p *TCP) Bytes() (sent, received int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent, p.received
}

func (p *TCP) resetLocked(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
	delete(p.conns, conn)
}

// keep remembers a connection, unless the proxy has ended.
func (p *TCP) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.mode.Down {
		p.resetLocked(conn)
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *TCP) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		p.resetLocked(conn)
	}
}

func (p *TCP) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !p.keep(client) {
			continue
		}
		p.all.Go(func() { p.serve(client) })
	}
}

func (p *TCP) serve(client net.Conn) {
	defer p.drop(client)
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil || !p.keep(server) {
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, p.request) })
	p.copy(client, server, p.answer)
	p.drop(client, server)
	both.Wait()
}

// copy passes pieces on until one end is gone, or alter says so.
func (p *TCP) copy(to, from net.Conn, alter func(piece []byte, before int64) (pass, end bool)) {
	buf := make([]byte, 64<<10)
	total := int64(0)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			pass, end := alter(buf[:n], total)
			total += int64(n)
			if pass {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if end {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *TCP) request(piece []byte, _ int64) (pass, end bool) {
	p.mu.Lock()
	mode := p.mode
	p.sent += int64(len(piece))
	p.mu.Unlock()
	if mode.Latency > 0 {
		time.Sleep(mode.Latency)
	}
	return !mode.Down && !mode.Cut, mode.Down
}

func (p *TCP) answer(piece []byte, before int64) (pass, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.received += int64(len(piece))
	if every := p.mode.FlipAnswer; every > 0 {
		for at := every - before%every - 1; at < int64(len(piece)); at += every {
			piece[at] ^= 0x10
		}
	}
	end = p.mode.Down || p.mode.ResetAfter > 0 && before+int64(len(piece)) >= p.mode.ResetAfter
	return !p.mode.LoseAnswers && !p.mode.Cut && !end, end
}
