package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"millrace/api/auth"
)

// keystoneConfig is for api.auth keystone.
type keystoneConfig struct {
	URL           string        `name:"url" help:"where tokens are validated: https://host:5000/v3"`
	PublicURL     string        `name:"public_url" help:"where clients are sent to for tokens; none: url"`
	User          string        `name:"user" default:"gnocchi" help:"who validates tokens"`
	Password      secret        `name:"password" help:"their password"`
	Project       string        `name:"project" default:"service" help:"their project"`
	UserDomain    string        `name:"user_domain" default:"default" help:"id of their domain"`
	ProjectDomain string        `name:"project_domain" default:"default" help:"id of the project's domain"`
	Cache         time.Duration `name:"cache" default:"30s" help:"how long an answer, and so a revoked token, is believed"`
	Timeout       time.Duration `name:"timeout" default:"3s" help:"longest time to an answer of it, then 503; api.timeout bounds it too"`
}

// auth checks what belongs to authentication.
func (v *validator) auth(c *apiConfig) {
	switch c.Auth {
	case "htpasswd":
		v.check(c.HtpasswdFile != "", "api.auth htpasswd needs api.htpasswd_file")
	case "remoteuser":
		v.check(c.RemoteUserHeader != "", "api.remote_user_header must not be empty")
	case "keystone":
		u, err := url.Parse(c.Keystone.URL)
		v.check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "",
			"api.keystone.url %q is not a URL such as https://host:5000/v3", c.Keystone.URL)
		v.check(c.Keystone.Password != "", "api.auth keystone needs api.keystone.password")
		v.check(c.Keystone.Cache >= 0, "api.keystone.cache must not be negative; 0 asks for every request")
		v.positive("api.keystone.timeout", c.Keystone.Timeout)
	}
}

// believes says whether an authentication mode believes whatever it is told.
func (c *apiConfig) believes() bool { return c.Auth == "basic" || c.Auth == "remoteuser" }

// authenticator makes what the settings choose.
func (c *apiConfig) authenticator(log *slog.Logger) (auth.Authenticator, error) {
	switch c.Auth {
	case "basic":
		return auth.Basic{}, nil
	case "htpasswd":
		a, err := auth.NewHtpasswd(c.HtpasswdFile, log)
		if err != nil {
			return nil, fmt.Errorf("api.htpasswd_file: %w", err)
		}
		return a, nil
	case "remoteuser":
		return auth.RemoteUser{Header: c.RemoteUserHeader}, nil
	case "keystone":
		k := c.Keystone
		cache := k.Cache
		if cache == 0 {
			cache = -1 // not at all
		}
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		return auth.NewKeystone(auth.KeystoneConfig{
			URL: k.URL, PublicURL: k.PublicURL, User: k.User, Password: string(k.Password), Project: k.Project,
			UserDomain: k.UserDomain, ProjectDomain: k.ProjectDomain, Cache: cache, Timeout: k.Timeout,
		}, client, log), nil
	}
	return nil, fmt.Errorf("there is no authentication %q", c.Auth)
}

// policies reads the policy file, if there is one.
func (c *apiConfig) policies() (*auth.Policies, error) {
	if c.PolicyFile == "" {
		return nil, nil
	}
	p, err := auth.ReadPolicies(c.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("api.policy_file: %w", err)
	}
	return p, nil
}
