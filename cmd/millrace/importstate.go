package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// importState is what an import remembers, so that it can be run again after it was
// interrupted: which metrics it made, and how many rows of each file the server
// has acknowledged.
type importState struct {
	path    string
	Server  string                 `json:"server"`
	Metrics map[string]string      `json:"metrics"` // name → id
	Files   map[string]*fileImport `json:"files"`   // by path
}

// fileImport is how far one file has been imported.
type fileImport struct {
	Rows     int64 `json:"rows"` // acknowledged or found bad, from the start
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
	Done     bool  `json:"done"`
}

// loadImportState reads the state of an earlier run against the same server.
func loadImportState(path, server string) (*importState, error) {
	s := &importState{path: path, Server: server, Metrics: make(map[string]string), Files: make(map[string]*fileImport)}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s is not the state of an import: %w", path, err)
	}
	if s.Server != server {
		return nil, fmt.Errorf("%s is the state of an import into %s: choose another --state, or remove it", path, s.Server)
	}
	return s, nil
}

// save replaces the file, whole.
func (s *importState) save() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(s.path+".new", s.path)
}

func (s *importState) file(path string) *fileImport {
	f := s.Files[path]
	if f == nil {
		f = &fileImport{}
		s.Files[path] = f
	}
	return f
}
