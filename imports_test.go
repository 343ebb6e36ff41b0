package millrace_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// imports is the house: which of our packages each of them may import. It is read
// with go/parser, not go list, so that go test notices when a file changes.
var imports = map[string][]string{
	"ingest": {},

	"disk":           {},
	"disk/diskfault": {"disk"},

	"queue":           {"ingest"},
	"queue/disklog":   {"ingest", "queue", "disk"},
	"queue/kafka":     {"ingest", "queue"},
	"queue/queuetest": {"ingest", "queue"},

	"drivers/aggregate":            {"ingest"},
	"drivers/carbonara":            {"ingest", "drivers/aggregate", "drivers/carbonara/segment"},
	"drivers/carbonara/segment":    {"ingest"},
	"drivers/carbonara/filestore":  {"ingest", "drivers/carbonara", "disk"},
	"drivers/carbonara/s3store":    {"drivers/carbonara"},
	"drivers/carbonara/redisstore": {"drivers/carbonara"},
	"drivers/carbonara/storetest":  {"ingest", "drivers/carbonara", "drivers/naive"},
	"drivers/influxdb":             {"ingest", "drivers/aggregate"},
	"drivers/naive":                {"ingest"},
	"drivers/drivertest":           {"ingest", "drivers/naive"},

	"index": {"ingest"},

	"intake": {"ingest", "index"},

	"api": {"ingest", "index", "intake", "drivers/aggregate", "api/auth", "api/gnocchi", "api/operations",
		"api/influx", "api/prometheus"},
	"api/auth":       {"ingest"},
	"api/gnocchi":    {"ingest"},
	"api/influx":     {"ingest", "index", "intake"},
	"api/operations": {"ingest", "drivers/aggregate"},
	"api/prometheus": {"ingest", "index", "intake"},

	"golden":                 {}, // tests only
	"testservers":            {},
	"testservers/faultproxy": {},

	"benchmarks":   {anything},
	"cmd/millrace": {anything},
}

// anything stands for every package but cmd.
const anything = "*"

// sources calls visit with every Go file of the project and its folder.
func sources(t *testing.T, visit func(folder, file string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != "." && (strings.HasPrefix(name, ".") || name == "testdata" ||
				name == "millrace-data") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(file, ".go") {
			visit(path.Dir(filepath.ToSlash(file)), file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImports(t *testing.T) {
	const module = "millrace/"
	banned := map[string]string{
		"github.com/stretchr/testify": "tests use the standard library and go-cmp",
		"math/rand":                   "math/rand/v2 is",
	}
	sources(t, func(folder, file string) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		allowed, known := imports[folder]
		if !known && folder != "." {
			t.Errorf("%s: package %s has no place in the house", file, folder)
		}
		for _, spec := range parsed.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			if why, ok := banned[name]; ok {
				t.Errorf("%s imports %s: %s", file, name, why)
			}
			ours, ok := strings.CutPrefix(name, module)
			if !ok {
				continue
			}
			if strings.HasPrefix(ours, "cmd/") {
				t.Errorf("%s imports %s: nobody imports a command", file, ours)
			}
			// Tests may use any suite and any part; what is built may not.
			if strings.HasSuffix(file, "_test.go") || slices.Contains(allowed, anything) {
				continue
			}
			if !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s: package %s may import %v", file, ours, folder, allowed)
			}
		}
	})
}

// Every package says in exactly one file what it is.
func TestPackageDocs(t *testing.T) {
	docs := make(map[string][]string)
	sources(t, func(folder, file string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		if _, ok := docs[folder]; !ok {
			docs[folder] = nil
		}
		if parsed.Doc != nil {
			docs[folder] = append(docs[folder], file)
		}
	})
	for folder, files := range docs {
		if len(files) != 1 {
			t.Errorf("package %s is described in %d files (%v), not in one", folder, len(files), files)
		}
	}
}
