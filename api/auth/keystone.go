package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// KeystoneConfig says where an OpenStack Identity service is, and who asks it. The
// zero value of a field after Password means its default.
type KeystoneConfig struct {
	URL      string // of version 3: https://host:5000/v3
	User     string // the service's own, who may validate tokens
	Password string

	Project       string        // of the user; "service"
	UserDomain    string        // the domain's id; "default"
	ProjectDomain string        // "default"
	Cache         time.Duration // how long an answer is believed, and so a revoked token; 30 s; negative: not at all
	MaxTokens     int           // answers kept; 10,000
	Timeout       time.Duration // of one request to Keystone; 3 s
	PublicURL     string        // what clients are told to ask; URL
}

func (c KeystoneConfig) withDefaults() KeystoneConfig {
	set := func(into *string, value string) {
		if *into == "" {
			*into = value
		}
	}
	c.URL = strings.TrimRight(c.URL, "/")
	set(&c.Project, "service")
	set(&c.UserDomain, "default")
	set(&c.ProjectDomain, "default")
	set(&c.PublicURL, c.URL)
	if c.Cache == 0 {
		c.Cache = 30 * time.Second
	}
	if c.MaxTokens == 0 {
		c.MaxTokens = 10_000
	}
	if c.Timeout == 0 {
		c.Timeout = 3 * time.Second
	}
	return c
}

// Keystone believes tokens that an OpenStack Identity service (version 3) says are
// valid. What it says is kept for a while, never beyond the token's end. While it
// can't be reached, tokens that it was not asked about lately get an
// UnavailableError. Whatever a request says of its user, project or roles itself is
// not looked at.
type Keystone struct {
	config KeystoneConfig
	client keystoneClient
	now    func() time.Time
	asking singleflight.Group // by token digest

	mu     sync.Mutex
	tokens map[digest]answer
}

type digest = [sha256.Size]byte

// An answer is what Keystone said about a token.
type answer struct {
	id    Identity
	valid bool
	until time.Time
}

// NewKeystone returns an authenticator; it asks nobody before the first request.
func NewKeystone(config KeystoneConfig, client *http.Client, log *slog.Logger) *Keystone {
	config = config.withDefaults()
	k := &Keystone{config: config, now: time.Now, tokens: make(map[digest]answer)}
	k.client = keystoneClient{config: config, http: client, log: log, now: func() time.Time { return k.now() }}
	return k
}

// maxToken bounds a token, in bytes; PKI tokens, which are larger, are gone since 2017.
const maxToken = 16 << 10

// Authenticate returns whom the request's token stands for.
func (k *Keystone) Authenticate(r *http.Request) (Identity, error) {
	token := r.Header.Get("X-Auth-Token")
	if token == "" || len(token) > maxToken {
		return Identity{}, ErrUnauthorized
	}
	key := sha256.Sum256([]byte(token)) // tokens themselves are not kept
	a, known := k.find(key)
	if !known {
		var err error
		if a, err = k.ask(r.Context(), key, token); err != nil {
			return Identity{}, &UnavailableError{err}
		}
	}
	if !a.valid {
		return Identity{}, ErrUnauthorized
	}
	return a.id, nil
}

func (k *Keystone) find(key digest) (answer, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, ok := k.tokens[key]
	if !ok {
		return a, false
	}
	if !k.now().Before(a.until) {
		delete(k.tokens, key)
		return a, false
	}
	return a, true
}

// ask asks Keystone, once for all requests that come with the token meanwhile. The
// question outlives the request that has asked first.
func (k *Keystone) ask(ctx context.Context, key digest, token string) (answer, error) {
	asked := k.asking.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*k.config.Timeout)
		defer cancel()
		id, expires, err := k.client.validate(ctx, token)
		if errors.Is(err, ErrUnauthorized) {
			return k.keep(key, answer{until: k.now().Add(k.config.Cache)}), nil
		}
		if err != nil {
			return nil, err
		}
		a := answer{id: id, valid: k.now().Before(expires), until: expires}
		if limit := k.now().Add(k.config.Cache); limit.Before(a.until) {
			a.until = limit
		}
		return k.keep(key, a), nil
	})
	select {
	case <-ctx.Done():
		return answer{}, ctx.Err()
	case result := <-asked:
		if result.Err != nil {
			return answer{}, result.Err
		}
		return result.Val.(answer), nil
	}
}

// keep remembers an answer. When there are too many, those that are over are
// forgotten, and if that is not enough any quarter of the others.
func (k *Keystone) keep(key digest, a answer) answer {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if !now.Before(a.until) {
		return a
	}
	if len(k.tokens) >= k.config.MaxTokens {
		for other, old := range k.tokens {
			if !now.Before(old.until) {
				delete(k.tokens, other)
			}
		}
		for other := range k.tokens {
			if len(k.tokens) <= k.config.MaxTokens*3/4 {
				break
			}
			delete(k.tokens, other)
		}
	}
	k.tokens[key] = a
	return a
}

// Challenge is the WWW-Authenticate header of a 401.
func (k *Keystone) Challenge() string { return fmt.Sprintf("Keystone uri=%q", k.config.PublicURL) }
