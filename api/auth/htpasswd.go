package auth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Htpasswd believes the users of a password file, as Apache's htpasswd -B writes it,
// who know their password (RFC 7617). The user "admin" is an administrator. The file
// is read anew when it changes; one that can't be read then leaves the users of
// before.
type Htpasswd struct {
	file string
	log  *slog.Logger
	work chan struct{} // one place for each hash that is computed at a time
	key  []byte        // of the digests in verified

	mu       sync.Mutex
	looked   time.Time
	stamp    fileStamp
	users    map[string][]byte
	slowest  []byte                     // of the hashes
	verified map[[sha256.Size]byte]bool // users with passwords that were right, of the file as it is
}

type fileStamp struct {
	modified time.Time
	size     int64
}

const (
	lookInterval = time.Second // how often the file is looked at
	maxVerified  = 10_000      // passwords whose check is remembered
)

// NewHtpasswd reads the file.
func NewHtpasswd(file string, log *slog.Logger) (*Htpasswd, error) {
	h := &Htpasswd{
		file: file, log: log, work: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		key: make([]byte, sha256.Size),
	}
	rand.Read(h.key)
	if err := h.read(); err != nil {
		return nil, err
	}
	return h, nil
}

// read reads the file. The caller has locked mu, or is the only one.
func (h *Htpasswd) read() error {
	info, err := os.Stat(h.file)
	if err != nil {
		return fmt.Errorf("cannot read the password file: %w", err)
	}
	stamp := fileStamp{info.ModTime(), info.Size()}
	if h.users != nil && stamp == h.stamp {
		return nil
	}
	h.stamp = stamp // also of one that is bad: it is complained about once
	data, err := os.ReadFile(h.file)
	if err != nil {
		return fmt.Errorf("cannot read the password file: %w", err)
	}
	users, err := parseHtpasswd(data)
	if err != nil {
		return fmt.Errorf("%s:%w", h.file, err)
	}
	h.users, h.slowest, h.verified = users, nil, make(map[[sha256.Size]byte]bool)
	most := 0
	for _, hash := range users {
		if cost, _ := bcrypt.Cost(hash); cost > most {
			most, h.slowest = cost, hash
		}
	}
	return nil
}

// parseHtpasswd reads lines of user:hash. The error begins with the line's number,
// and quotes nothing of the line.
func parseHtpasswd(data []byte) (map[string][]byte, error) {
	users := make(map[string][]byte)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%d: not of the form user:hash", n)
		}
		if users[user] != nil {
			return nil, fmt.Errorf("%d: user %q is there twice", n, user)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, fmt.Errorf("%d: the hash of user %q is not bcrypt's, as htpasswd -B makes it", n, user)
		}
		users[user] = []byte(hash)
	}
	return users, lines.Err()
}

// Authenticate returns the user that the request names, whose password is right.
func (h *Htpasswd) Authenticate(r *http.Request) (Identity, error) {
	user, password, ok := credentials(r)
	if !ok {
		return Identity{}, ErrUnauthorized
	}
	mac := hmac.New(sha256.New, h.key)
	fmt.Fprintf(mac, "%d:%s%s", len(user), user, password)
	digest := [sha256.Size]byte(mac.Sum(nil))
	hash, verified := h.find(user, digest)
	if !verified {
		right, err := h.check(r.Context(), hash, password)
		if err != nil {
			return Identity{}, err
		}
		if !right {
			return Identity{}, ErrUnauthorized
		}
		h.remember(user, hash, digest)
	}
	return named(user), nil
}

// find returns a user's hash, nil if there is no such user, and whether this
// password has been right before.
func (h *Htpasswd) find(user string, digest [sha256.Size]byte) (hash []byte, verified bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.Sub(h.looked) >= lookInterval {
		h.looked = now
		if err := h.read(); err != nil {
			h.log.Error("going on with the users of before", "err", err)
		}
	}
	return h.users[user], h.verified[digest]
}

func (h *Htpasswd) check(ctx context.Context, hash []byte, password string) (bool, error) {
	select {
	case h.work <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-h.work }()
	known := hash != nil
	if !known { // as slow as for somebody: time must not tell who there is
		hash = h.decoy()
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil && known, nil
}

// decoy is the hash of some user, the slowest to compute.
func (h *Htpasswd) decoy() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.slowest
}

// remember keeps in mind that a password is right, unless the file has changed
// since it was checked.
func (h *Htpasswd) remember(user string, hash []byte, digest [sha256.Size]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !bytes.Equal(h.users[user], hash) {
		return
	}
	if len(h.verified) >= maxVerified {
		clear(h.verified)
	}
	h.verified[digest] = true
}

// Challenge is the WWW-Authenticate header of a 401.
func (*Htpasswd) Challenge() string { return basicChallenge }
