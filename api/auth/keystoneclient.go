package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// A keystoneClient asks an Identity service, in the name of the service's own user.
type keystoneClient struct {
	config KeystoneConfig
	http   *http.Client
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex // held while a token of the service's own is fetched
	token   string
	expires time.Time

	state   sync.Mutex
	trouble bool // the last question had no answer
}

// renewBefore is how long before its end the service's own token is replaced.
const renewBefore = time.Minute

// A tokenDoc is what Keystone says about a token, of what we need.
type tokenDoc struct {
	Token struct {
		ExpiresAt time.Time               `json:"expires_at"`
		User      struct{ ID string }     `json:"user"`
		Project   struct{ ID string }     `json:"project"` // none: the token has another scope
		Roles     []struct{ Name string } `json:"roles"`
	} `json:"token"`
}

// validate asks about a token. ErrUnauthorized says that it is not valid, any other
// error that there was no answer.
func (c *keystoneClient) validate(ctx context.Context, token string) (id Identity, expires time.Time, err error) {
	defer func() { c.tell(err) }()
	for range 2 { // the own token may have been revoked
		var own string
		if own, err = c.own(ctx); err != nil {
			return id, expires, err
		}
		var doc tokenDoc
		var status int
		if status, err = c.ask(ctx, own, token, &doc); err != nil {
			return id, expires, err
		}
		switch status {
		case http.StatusOK:
			if doc.Token.User.ID == "" || doc.Token.ExpiresAt.IsZero() {
				return id, expires, errors.New("Keystone answers without the token's user or end")
			}
			return doc.identity(), doc.Token.ExpiresAt, nil
		case http.StatusNotFound:
			return id, expires, ErrUnauthorized
		case http.StatusUnauthorized:
			c.forget(own)
		default:
			return id, expires, fmt.Errorf("Keystone answers %d to a validation", status)
		}
	}
	return id, expires, errors.New("Keystone does not accept the service's own token")
}

func (d *tokenDoc) identity() Identity {
	t := &d.Token
	id := Identity{User: t.User.ID, Project: t.Project.ID, Creator: t.User.ID + ":" + t.Project.ID, Scoped: true}
	for _, r := range t.Roles {
		id.Roles = append(id.Roles, r.Name)
	}
	return id
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

func (c *keystoneClient) ask(ctx context.Context, own, token string, doc *tokenDoc) (status int, err error) {
	header := http.Header{"X-Auth-Token": {own}, "X-Subject-Token": {token}}
	_, status, err = c.call(ctx, http.MethodGet, "/auth/tokens?nocatalog", header, nil, doc)
	return status, err
}

// own returns the service's own token, a new one when it must.
func (c *keystoneClient) own(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && c.now().Before(c.expires.Add(-renewBefore)) {
		return c.token, nil
	}
	type domain struct {
		ID string `json:"id"`
	}
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{
			"name": c.config.User, "password": c.config.Password, "domain": domain{c.config.UserDomain},
		}}},
		"scope": map[string]any{
			"project": map[string]any{"name": c.config.Project, "domain": domain{c.config.ProjectDomain}},
		},
	}})
	if err != nil {
		return "", err
	}
	var doc tokenDoc
	header, status, err := c.call(
		ctx, http.MethodPost, "/auth/tokens?nocatalog", http.Header{"Content-Type": {"application/json"}}, body, &doc,
	)
	if err != nil {
		return "", err
	}
	token := header.Get("X-Subject-Token")
	if status != http.StatusCreated || token == "" {
		return "", fmt.Errorf("Keystone answers %d to user %q of project %q", status, c.config.User, c.config.Project)
	}
	c.token, c.expires = token, doc.Token.ExpiresAt
	return token, nil
}

// forget drops the service's own token, unless it is another by now.
func (c *keystoneClient) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}

// call makes a request and reads the JSON of a success. Errors say nothing of tokens.
func (c *keystoneClient) call(
	ctx context.Context, method, path string, header http.Header, body []byte, into any,
) (http.Header, int, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.config.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	r.Header = header
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "millrace")
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the answer of Keystone: %w", err)
	}
	if answer.StatusCode/100 == 2 {
		if err := json.Unmarshal(data, into); err != nil {
			return nil, 0, fmt.Errorf("cannot read the answer of Keystone: %w", err)
		}
	}
	return answer.Header, answer.StatusCode, nil
}

// tell logs when Keystone stops answering and when it begins again, not each time.
func (c *keystoneClient) tell(err error) {
	trouble := err != nil && !errors.Is(err, ErrUnauthorized)
	c.state.Lock()
	changed := trouble != c.trouble
	c.trouble = trouble
	c.state.Unlock()
	switch {
	case changed && trouble:
		c.log.Error("tokens can't be validated: requests get 503", "url", c.config.URL, "err", err)
	case changed:
		c.log.Info("tokens can be validated again", "url", c.config.URL)
	}
}
