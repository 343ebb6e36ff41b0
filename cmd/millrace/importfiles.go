package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An importFile is a file to import.
type importFile struct {
	path string
	name string // what its metric is called
	size int64
}

// findCSV lists the files given, and below the folders given those whose ending says
// that they are CSV. Files and folders whose name begins with a dot are left out
// there; so are those of other endings, which odd names. A file's name, below its
// folder and without its ending, is its metric's.
func findCSV(args []string) (files []importFile, odd []string, err error) {
	add := func(path, below string) error {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			odd = append(odd, path)
		case !slices.ContainsFunc(files, func(f importFile) bool { return absolute(f.path) == absolute(path) }):
			files = append(files, importFile{path, metricName(below), info.Size()})
		}
		return nil
	}
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			return nil, nil, err
		case info.IsDir():
			err = walkCSV(arg, &odd, add)
		case !info.Mode().IsRegular():
			err = fmt.Errorf("%s is neither a file nor a folder", arg)
		default:
			err = add(arg, filepath.Base(arg))
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if len(files) == 0 {
		return nil, odd, errors.New("there are no files to import: want .csv or .tsv, perhaps with .gz or .zst behind")
	}
	return files, odd, nil
}

// walkCSV adds the files of a folder.
func walkCSV(folder string, odd *[]string, add func(path, below string) error) error {
	return filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		hidden := path != folder && strings.HasPrefix(d.Name(), ".")
		switch {
		case err != nil:
			return err
		case hidden && d.IsDir():
			return filepath.SkipDir
		case hidden || d.IsDir():
			return nil
		case !isCSV(path):
			*odd = append(*odd, path)
			return nil
		}
		below, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		return add(path, below)
	})
}

// csvEndings are those of files that are found in folders.
var csvEndings = []string{".csv", ".tsv"}

// packedEndings may follow them.
var packedEndings = []string{".gz", ".zst"}

// cutEnding cuts one of some endings off, in either case.
func cutEnding(path string, endings []string) (rest string, found bool) {
	for _, e := range endings {
		if rest := len(path) - len(e); rest >= 0 && strings.EqualFold(path[rest:], e) {
			return path[:rest], true
		}
	}
	return path, false
}

func isCSV(path string) bool {
	path, _ = cutEnding(path, packedEndings)
	_, is := cutEnding(path, csvEndings)
	return is
}

// metricName makes a metric's name of a path: it has no slash.
func metricName(path string) string {
	path, _ = cutEnding(path, packedEndings)
	path, _ = cutEnding(path, csvEndings)
	return strings.ReplaceAll(filepath.ToSlash(path), "/", ".")
}

// oddFiles says which files have been left out.
func oddFiles(odd []string) string {
	const most = 5
	shown, more := odd, ""
	if len(odd) > most {
		shown, more = odd[:most], fmt.Sprintf(" and %d more", len(odd)-most)
	}
	return fmt.Sprintf("left out, for the endings are neither .csv nor .tsv: %s%s", strings.Join(shown, ", "), more)
}
