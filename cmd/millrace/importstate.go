package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"millrace/disk"
)

// importState is what an import remembers, so that it can be run again after it was
// interrupted: which metrics it made, and how much of each file the server has
// acknowledged.
type importState struct {
	path    string
	Server  string                 `json:"server"`
	Key     string                 `json:"key,omitempty"` // random; begins what names each metric's creation
	Metrics map[string]string      `json:"metrics"`       // name → id
	Files   map[string]*fileImport `json:"files"`         // by path, absolute
}

// fileImport is how far one file has been imported.
type fileImport struct {
	Bytes    int64  `json:"bytes"`  // acknowledged or refused, from the start
	SHA256   string `json:"sha256"` // of those bytes: another file of this name is not taken for it
	Accepted int64  `json:"accepted"`
	Refused  int64  `json:"refused"`
	Decimal  string `json:"decimal,omitempty"`  // mark of its values, where it matters
	OpenEnd  bool   `json:"open_end,omitempty"` // its last line had no end and was taken all the same
}

// lockImportState takes the state of an import into use: no other import may, until
// it is closed.
func lockImportState(path string) (io.Closer, error) {
	lock, err := disk.OS{}.Lock(path + ".lock")
	if errors.Is(err, disk.ErrLocked) {
		return nil, fmt.Errorf("another import is using %s: wait for it, or choose another --state", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock --state: %w", err)
	}
	return lock, nil
}

// loadImportState reads the state of an earlier run against the same server.
func loadImportState(path, server string) (*importState, error) {
	s := &importState{path: path, Server: server, Metrics: make(map[string]string), Files: make(map[string]*fileImport)}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read --state: %w", err)
	}
	if err := json.Unmarshal(data, s); err != nil || s.Metrics == nil || s.Files == nil {
		return nil, fmt.Errorf("%s is not the state of an import: choose another --state", path)
	}
	if s.Server != server {
		return nil, fmt.Errorf("%s is the state of an import into %s: choose another --state, or remove it", path, s.Server)
	}
	return s, nil
}

// ensureKey has a key on disk before anything is created with it.
func (s *importState) ensureKey() error {
	if s.Key != "" {
		return nil
	}
	s.Key = rand.Text()
	return s.save()
}

// keyOf names the creation of a metric: the same for every run with this state.
func (s *importState) keyOf(name string) string {
	return fmt.Sprintf("%s-%x", s.Key, sha256.Sum256([]byte(name)))
}

// save replaces the file, whole.
func (s *importState) save() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(s.path+".new", append(data, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(s.path+".new", s.path)
	}
	if err != nil {
		return fmt.Errorf("cannot save --state: %w", err)
	}
	return nil
}

// file is how far the file of a path has been imported.
func (s *importState) file(path string) *fileImport {
	path = absolute(path)
	f := s.Files[path]
	if f == nil {
		f = &fileImport{}
		s.Files[path] = f
	}
	return f
}

// sum adds up what became of the rows of files.
func (s *importState) sum(files []importFile) fileImport {
	var sum fileImport
	for _, f := range files {
		if one := s.Files[absolute(f.path)]; one != nil {
			sum.Accepted += one.Accepted
			sum.Refused += one.Refused
		}
	}
	return sum
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
