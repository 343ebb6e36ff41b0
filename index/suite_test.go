package index

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"millrace/ingest"
)

// A database of a test: every call opens it, as it is then.
type opener func(Config) *Index

// runIndex checks what an Index promises, on the databases that fresh makes: each
// is new and empty.
func runIndex(t *testing.T, fresh func(t *testing.T) opener) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open opener)
	}{
		{"policies", testPolicies},
		{"policy updates", testUpdatePolicy},
		{"policy in use", testPolicyInUse},
		{"defaults", testDefaults},
		{"rules", testRules},
		{"rule order", testRuleOrder},
		{"metrics", testMetrics},
		{"metrics all or nothing", testAllOrNothing},
		{"named metrics", testNamedMetrics},
		{"deletion", testDeletion},
		{"purge", testPurge},
		{"deletion elsewhere", testDeletionElsewhere},
		{"labels", testLabels},
		{"filters", testFilters},
		{"rare filters", testRareFilters},
		{"bad pages", testBadPages},
		{"pages", testPages},
		{"resource types", testResourceTypes},
		{"resource type updates", testUpdateResourceType},
		{"resources", testResources},
		{"history", testHistory},
		{"revival", testRevival},
		{"associations", testAssociations},
		{"metrics by name", testCreateNamed},
		{"resources and metrics on the way", testEnsureNamed},
		{"search", testSearch},
		{"resource pages", testResourcePages},
		{"pages and changes", testPagesAndChanges},
		{"pages of history and changes", testHistoryPagesAndChanges},
		{"places pruned", testPlacesPruned},
		{"pages of metrics and deletion", testMetricPagesAndDeletion},
		{"resources of another process", testResourcesOfAnother},
		{"lookup", testLookup},
		{"lookup and changes", testLookupSeesChanges},
		{"one wins", testOneWins},
		{"neighbours", testNeighbours},
		{"two processes", testTwoProcesses},
		{"feed of metrics", testFeedMetrics},
		{"feed of what is held", testFeedHeld},
		{"pruned feed", testFeedPruned},
		{"feed gone back", testFeedGoneBack},
		{"made by another a moment ago", testFresh},
		{"hammered feed", testFeedHammered},
		{"belief", testBelief},
		{"bad texts", testBadTexts},
		{"deployment", testDeployment},
		{"logs", testLogs},
		{"processes", testProcesses},
		{"letters", testLetters},
		{"letter pages", testLetterPages},
		{"odd letters", testOddLetters},
		{"letter bounds", testLetterBounds},
		{"letters concurrently", testLettersConcurrently},
		{"damaged letters", testDamagedLetters},
		{"restart", testRestart},
		{"closed", testClosed},
		{"cancelled", testCancelled},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

// withPolicies opens an index with the default archive policies and no rule.
func withPolicies(t *testing.T, open opener, config Config) *Index {
	t.Helper()
	x := open(config)
	must(t, second(x.CreateDefaults(t.Context())))
	must(t, x.DeleteRule(t.Context(), "default"))
	return x
}

// openURL opens the index at a URL.
func openURL(t testing.TB, url string, config Config) (*Index, error) {
	if config.Timeout == 0 { // the race detector is slow, and so are machines that do much else
		config.Timeout = time.Minute
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return Open(t.Context(), url, config, log, metricnoop.NewMeterProvider().Meter(""))
}

// home creates generic resources.
func home(t *testing.T, x *Index, ids ...[16]byte) {
	t.Helper()
	generic := value(x.ResourceType(t.Context(), GenericType))(t)
	for _, id := range ids {
		must(t, second(x.CreateResource(t.Context(), generic, Resource{ID: id, Creator: "admin"}, nil)))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }

func value[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// wantError checks an error's kind and text.
func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || err.Error() != text {
		t.Errorf("got error %v, want %q (%v)", err, text, kind)
	}
}

func wantInvalid(t *testing.T, err error, text string) {
	t.Helper()
	if e, ok := errors.AsType[*InvalidError](err); !ok || e.Text != text {
		t.Errorf("got error %v, want an InvalidError %q", err, text)
	}
}

func policy(name string, granularities ...time.Duration) *ingest.ArchivePolicy {
	p := &ingest.ArchivePolicy{Name: name, Methods: ingest.DefaultMethods()}
	for _, g := range granularities {
		p.Definitions = append(p.Definitions, ingest.Definition{Granularity: g})
	}
	return p
}

func metric(name string) Metric {
	m := Metric{ID: ingest.NewMetricID(), Creator: "admin", Policy: "low"}
	if name != "" {
		m.Name = &name
	}
	return m
}

func entriesOf(metrics ...Metric) []ingest.Entry {
	entries := make([]ingest.Entry, len(metrics))
	for i, m := range metrics {
		entries[i].Metric = m.ID
	}
	return entries
}
