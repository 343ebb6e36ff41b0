package carbonara

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The manifest in testdata has every field; it is version 2 for ever.
func TestManifestGolden(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := decodeManifest(golden)
	if err != nil {
		t.Fatal(err)
	}
	if again := m.encode(); !bytes.Equal(again, golden) {
		t.Errorf("written again it is\n%s", again)
	}
	if list := m.problems(0); len(list) > 0 {
		t.Error(list)
	}
}

func TestManifestRefused(t *testing.T) {
	for text, want := range map[string]string{
		``:             "not a manifest",
		`[]`:           "not a manifest",
		`{"format":3}`: "format 3, this program knows 2: written by a newer version",
		`{"format":1}`: "format 1, this program knows 2",
		`{"format":2}`: "damaged",
		string(checksummed([]byte(`{"format":2,"segments":[{"name":"a","kind":"cooked"}]}`))): `unknown kind "cooked"`,
		`{"format":2,"segments":[{"name":"a","kind":"raw","min_metric":"none"}]}`:             "not a manifest",
	} {
		if _, err := decodeManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// A flipped bit is found, wherever it is.
func TestManifestDamaged(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range golden {
		for bit := range 8 {
			damaged := bytes.Clone(golden)
			damaged[i] ^= 1 << bit
			if _, err := decodeManifest(damaged); err == nil {
				t.Errorf("bit %d of byte %d is flipped: nobody notices", bit, i)
			}
		}
		if _, err := decodeManifest(golden[:i]); err == nil {
			t.Errorf("it is cut at byte %d: nobody notices", i)
		}
	}
}

// A manifest that can be read is written as it was read, and judged without a panic.
func FuzzManifest(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "manifest.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add(append(golden[:len(golden)-checksumLength-1:len(golden)-checksumLength-1], '}'))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":2,"segments":[{"kind":"raw","run":"a"},{"kind":"raw","run":"a","from_offset":-1}],` +
		`"tombstones":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeManifest(text)
		if err != nil && bytes.HasSuffix(text, []byte("}")) {
			m, err = decodeManifest(checksummed(bytes.Clone(text)))
		}
		if err != nil {
			return
		}
		m.problems(3)
		m.deleted()
		m.uncovered()
		first := m.encode()
		again, err := decodeManifest(first)
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second := again.encode(); !bytes.Equal(first, second) {
			t.Errorf("first\n%s, then\n%s", first, second)
		}
	})
}
