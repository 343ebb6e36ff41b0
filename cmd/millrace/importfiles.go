package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// An importFile is a file to import.
type importFile struct {
	path string
	name string // what its metric is called
	size int64
}

// findCSV lists the files given, and every *.csv below the folders given. A file's
// name, below its folder and without its ending, is its metric's.
func findCSV(args []string) ([]importFile, error) {
	var files []importFile
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, importFile{arg, metricName(filepath.Base(arg)), info.Size()})
			continue
		}
		err = filepath.WalkDir(arg, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".csv") {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			below, err := filepath.Rel(arg, path)
			files = append(files, importFile{path, metricName(below), info.Size()})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, errors.New("there are no .csv files")
	}
	return files, nil
}

// metricName makes a metric's name of a path: it has no slash.
func metricName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.ToSlash(path), ".csv"), "/", ".")
}
