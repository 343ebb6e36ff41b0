package testservers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// KeystoneServer is an OpenStack Identity service, with the project admin and the
// user admin, who has the role admin in it.
type KeystoneServer struct {
	*Process
	AdminPassword string
}

// Keystone is the Keystone that tests share (word: keystone).
func Keystone(t testing.TB) *KeystoneServer {
	t.Helper()
	return shared(t, "keystone", []string{"openstack"}, "keystone", startKeystone)
}

// NewKeystone is a Keystone of the test's own (word: keystone).
func NewKeystone(t testing.TB) *KeystoneServer {
	t.Helper()
	return own(t, "keystone", []string{"openstack"}, startKeystone)
}

// URL is the address of version 3 of its API.
func (k *KeystoneServer) URL() string { return "http://" + k.Addr + "/v3" }

func startKeystone(i []installation) (*KeystoneServer, error) {
	p, _, err := newProcess("Keystone", i[0].versionOf("keystone"))
	if err != nil {
		return nil, err
	}
	k := &KeystoneServer{Process: p, AdminPassword: "admin-secret"}
	file := filepath.Join(p.Dir, "keystone.conf")
	if err := k.setUp(i[0], file); err != nil {
		p.close()
		return nil, err
	}
	p.command = func() *exec.Cmd {
		// Without that header clients use a connection again that uwsgi has closed.
		command := exec.Command(i[0].program("uwsgi"), "--http-socket", p.Addr, "--module", "keystone.wsgi.api:application",
			"--master", "--processes", "1", "--threads", "4", "--enable-threads", "--lazy-apps",
			"--add-header", "Connection: close", "--die-on-term")
		command.Env = append(os.Environ(), "OS_KEYSTONE_CONFIG_FILES="+file)
		return command
	}
	p.ready = func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL(), nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("/v3: %s", answer.Status)
		}
		return nil
	}
	if err := p.Start(); err != nil {
		p.close()
		return nil, err
	}
	return k, nil
}

// setUp makes its database and keys.
func (k *KeystoneServer) setUp(i installation, file string) error {
	config := fmt.Sprintf(`[DEFAULT]
log_file = %[1]s/keystone.log
[database]
connection = sqlite:///%[1]s/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = %[1]s/fernet-keys
[credential]
key_repository = %[1]s/credential-keys
`, k.Dir)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	user, group := fmt.Sprint(os.Geteuid()), fmt.Sprint(os.Getegid())
	for _, args := range [][]string{
		{"db_sync"},
		{"fernet_setup", "--keystone-user", user, "--keystone-group", group},
		{"credential_setup", "--keystone-user", user, "--keystone-group", group},
		{"bootstrap", "--bootstrap-password", k.AdminPassword, "--bootstrap-region-id", "RegionOne",
			"--bootstrap-public-url", k.URL(),
			"--bootstrap-internal-url", k.URL(), "--bootstrap-admin-url", k.URL()},
	} {
		out, err := exec.Command(
			i.program("keystone-manage"), append([]string{"--config-file", file}, args...)...,
		).CombinedOutput()
		if err != nil {
			return fmt.Errorf("keystone-manage %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}
