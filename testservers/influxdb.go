package testservers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// InfluxVersion is a line of InfluxDB that tests run on.
type InfluxVersion string

// The versions that there are.
const (
	Influx2 InfluxVersion = "influxdb-2.7"
	Influx1 InfluxVersion = "influxdb-1.8"
)

// InfluxServer is an InfluxDB. It syncs its write-ahead log with each write.
type InfluxServer struct {
	*Process
	// Org and Token are those of 2.x, set up with the server; 1.8 takes any organisation
	// and an empty token.
	Org, Token string
	version    InfluxVersion
	users      bool // 1.8 asks who one is
}

// InfluxDB is the InfluxDB that all tests of this binary share (word: influxdb).
func InfluxDB(t testing.TB, version InfluxVersion) *InfluxServer {
	t.Helper()
	return shared(t, "influxdb", []string{string(version)}, string(version),
		func(i []installation) (*InfluxServer, error) {
			return startInflux(i[0], version, false)
		})
}

// NewInfluxDB is an InfluxDB of the test's own (word: influxdb).
func NewInfluxDB(t testing.TB, version InfluxVersion) *InfluxServer {
	t.Helper()
	return own(t, "influxdb", []string{string(version)}, func(i []installation) (*InfluxServer, error) {
		return startInflux(i[0], version, false)
	})
}

// NewInfluxDBUsers is an InfluxDB 1.8 of the test's own that asks who one is: its Token is
// user:password of an administrator (word: influxdb).
func NewInfluxDBUsers(t testing.TB) *InfluxServer {
	t.Helper()
	return own(t, "influxdb", []string{string(Influx1)}, func(i []installation) (*InfluxServer, error) {
		return startInflux(i[0], Influx1, true)
	})
}

func startInflux(i installation, version InfluxVersion, users bool) (*InfluxServer, error) {
	p, _, err := newProcess("InfluxDB", i.version)
	if err != nil {
		return nil, err
	}
	s := &InfluxServer{Process: p, Org: "millrace", version: version, users: users}
	if err := s.start(i); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *InfluxServer) start(i installation) error {
	if s.version == Influx1 {
		return s.start1(i)
	}
	s.Token = "millrace-token"
	s.command = func() *exec.Cmd {
		command := exec.Command(i.program("influxd"), "--http-bind-address", s.Addr, "--reporting-disabled", "--log-level",
			"error",
			"--bolt-path", filepath.Join(s.Dir, "influxd.bolt"), "--sqlite-path", filepath.Join(s.Dir, "influxd.sqlite"),
			"--engine-path", filepath.Join(s.Dir, "engine"))
		command.Env = append(os.Environ(), "HOME="+s.Dir)
		return command
	}
	s.ready = s.healthy
	if err := s.Start(); err != nil {
		return err
	}
	setup := map[string]any{"username": "millrace", "password": "millrace-password", "org": s.Org, "bucket": "setup",
		"token": s.Token}
	return s.post(context.Background(), "/api/v2/setup", setup)
}

func (s *InfluxServer) start1(i installation) error {
	rpc, err := freePort()
	if err != nil {
		return err
	}
	config := filepath.Join(s.Dir, "influxdb.conf")
	text := fmt.Sprintf(`reporting-disabled = true
bind-address = %q
[meta]
dir = %q
[data]
dir = %q
wal-dir = %q
wal-fsync-delay = "0s"
query-log-enabled = false
[http]
bind-address = %q
flux-enabled = true
log-enabled = false
auth-enabled = %t
[monitor]
store-enabled = false
`, address(rpc), filepath.Join(s.Dir, "meta"), filepath.Join(s.Dir, "data"), filepath.Join(s.Dir, "wal"), s.Addr,
		s.users)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	s.command = func() *exec.Cmd {
		command := exec.Command(i.program("influxd"), "-config", config)
		command.Env = append(os.Environ(), "HOME="+s.Dir)
		return command
	}
	s.ready = s.healthy
	if err := s.Start(); err != nil || !s.users {
		return err
	}
	s.Token = "millrace:millrace-password"
	_, err = s.Query(context.Background(), `CREATE USER millrace WITH PASSWORD 'millrace-password' WITH ALL PRIVILEGES`)
	return err
}

// Query asks a 1.8 something in InfluxQL, and returns its answer, which is JSON.
func (s *InfluxServer) Query(ctx context.Context, statement string) (string, error) {
	var answer json.RawMessage
	err := s.call(ctx, http.MethodPost, "/query?"+url.Values{"q": {statement}}.Encode(), nil, &answer)
	return string(answer), err
}

// URL is where influxdb-client-go connects to.
func (s *InfluxServer) URL() string { return "http://" + s.Addr }

// Bucket creates a bucket that keeps everything, or for 1.8 a database, and gives its name.
func (s *InfluxServer) Bucket(t testing.TB, name string) string {
	t.Helper()
	var err error
	if s.version == Influx1 {
		err = s.post(t.Context(), "/query?q=create+database+%22"+name+"%22", nil)
	} else {
		var id string
		if id, err = s.organisation(t.Context()); err == nil {
			err = s.post(t.Context(), "/api/v2/buckets", map[string]any{"orgID": id, "name": name, "retentionRules": []any{}})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func (s *InfluxServer) healthy(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/health", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// organisation is the id of ours.
func (s *InfluxServer) organisation(ctx context.Context) (string, error) {
	var found struct {
		Orgs []struct{ ID string }
	}
	if err := s.call(ctx, http.MethodGet, "/api/v2/orgs?org="+s.Org, nil, &found); err != nil {
		return "", err
	}
	if len(found.Orgs) != 1 {
		return "", fmt.Errorf("%s has %d organisations of the name %s", s, len(found.Orgs), s.Org)
	}
	return found.Orgs[0].ID, nil
}

func (s *InfluxServer) post(ctx context.Context, path string, body any) error {
	return s.call(ctx, http.MethodPost, path, body, nil)
}

func (s *InfluxServer) call(ctx context.Context, method, path string, body, answer any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, s.URL()+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	if s.Token != "" {
		request.Header.Set("Authorization", "Token "+s.Token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s %s: %s: %s", s, method, path, response.Status, text.String())
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text.Bytes(), answer)
}
