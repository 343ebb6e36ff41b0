package drivertest

import (
	"context"
	"math"
	"os"
	"os/exec"
	"slices"
	"testing"

	"millrace/drivers/naive"
	"millrace/ingest"
)

// A mutant is naive with something wrong, and the subtest that finds it.
type mutant struct {
	name   string
	found  string // a -test.run pattern below TestMutant
	driver func(*naive.Driver) ingest.Driver
}

var mutants = []mutant{
	{"shows before Flush", "Contract/^what_is_applied_is_visible_after_Flush,_or_at_once$",
		func(d *naive.Driver) ingest.Driver {
			return mutantDriver{lateDriver: d, apply: func(w ingest.SackWriter, records []ingest.Delivery) ([]ingest.Reject,
				error) {
				rejects, err := w.Apply(context.Background(), records)
				w.Flush(context.Background(), ingest.Watermark{Offset: records[len(records)-1].Offset + 1})
				return rejects, err
			}}
		}},
	{"keeps the caller's slices", "Meaning/^equal_timestamps$", func(d *naive.Driver) ingest.Driver {
		var kept []ingest.Delivery
		return mutantDriver{lateDriver: d,
			apply: func(_ ingest.SackWriter, records []ingest.Delivery) ([]ingest.Reject, error) {
				kept = append(kept, records...)
				for i := range records {
					kept[len(kept)-len(records)+i].Record.Entries = slices.Clone(records[i].Record.Entries)
				}
				return nil, nil
			},
			flush: func(w ingest.SackWriter, to ingest.Watermark) error {
				w.Apply(context.Background(), kept)
				kept = nil
				return flush(w, to)
			}}
	}},
	{"forgets who is the owner", "Contract/^an_earlier_owner_is_fenced$", func(d *naive.Driver) ingest.Driver {
		return mutantDriver{lateDriver: d, flush: func(w ingest.SackWriter, to ingest.Watermark) error {
			if err := flush(w, to); err != ingest.ErrFenced {
				return err
			}
			return nil
		}}
	}},
	{"applies records again", "Contract/^a_record_delivered_again_changes_nothing$", func(d *naive.Driver) ingest.Driver {
		next := ingest.Offset(1000)
		return mutantDriver{lateDriver: d,
			apply: func(w ingest.SackWriter, records []ingest.Delivery) ([]ingest.Reject, error) {
				for i := range records {
					records[i].Offset, next = next, next+1
				}
				return w.Apply(context.Background(), records)
			},
			flush: func(w ingest.SackWriter, to ingest.Watermark) error {
				return flush(w, to)
			}}
	}},
	{"brings the dead back", "Meaning/^a_deleted_metric_stays_gone$", func(d *naive.Driver) ingest.Driver {
		return mutantDriver{lateDriver: d, apply: func(w ingest.SackWriter, records []ingest.Delivery) ([]ingest.Reject,
			error) {
			for i := range records {
				if records[i].Record.Kind == ingest.RecordDelete {
					records[i].Record.Kind = ingest.RecordNudge
				}
			}
			return w.Apply(context.Background(), records)
		}}
	}},
	{"flushes record by record", "Concurrent/^a_flush_becomes_visible_at_once$", func(d *naive.Driver) ingest.Driver {
		var kept []ingest.Delivery
		return mutantDriver{lateDriver: d,
			apply: func(_ ingest.SackWriter, records []ingest.Delivery) ([]ingest.Reject, error) {
				kept = append(kept, clone(records)...)
				return nil, nil
			},
			flush: func(w ingest.SackWriter, to ingest.Watermark) error {
				for _, r := range kept {
					for i, e := range r.Record.Entries {
						part := r
						part.Offset = 100*r.Offset + ingest.Offset(i)
						part.Record.Entries = []ingest.Entry{e}
						w.Apply(context.Background(), []ingest.Delivery{part})
						flush(w, ingest.Watermark{Offset: part.Offset + 1})
					}
				}
				kept = nil
				return flush(w, to)
			}}
	}},
	{"loses a bit", "Random/^low$", func(d *naive.Driver) ingest.Driver {
		return mutantDriver{lateDriver: d, read: func(_ ingest.Query, rows []ingest.Measure) []ingest.Measure {
			for i := range rows {
				if rows[i].Value > 900 {
					rows[i].Value = math.Nextafter(rows[i].Value, 0)
				}
			}
			return rows
		}}
	}},
	{"hides NaN", "Meaning/^values_that_are_no_ordinary_numbers$", func(d *naive.Driver) ingest.Driver {
		return mutantDriver{lateDriver: d, read: func(_ ingest.Query, rows []ingest.Measure) []ingest.Measure {
			return slices.DeleteFunc(rows, func(m ingest.Measure) bool { return math.IsNaN(m.Value) })
		}}
	}},
	{"loses the sign of zero", "Meaning/^values_that_are_no_ordinary_numbers$", func(d *naive.Driver) ingest.Driver {
		return mutantDriver{lateDriver: d, read: func(_ ingest.Query, rows []ingest.Measure) []ingest.Measure {
			for i := range rows {
				rows[i].Value += 0
			}
			return rows
		}}
	}},
	{"takes To for inclusive", "Meaning/^ranges_on_and_beside_the_edges_of_buckets$",
		func(d *naive.Driver) ingest.Driver {
			return mutantDriver{lateDriver: d, ask: func(q *ingest.Query) {
				if q.To < ingest.MaxTime {
					q.To++
				}
			}}
		}},
	{"does not round From", "Meaning/^ranges_on_and_beside_the_edges_of_buckets$", func(d *naive.Driver) ingest.Driver {
		return mutantDriver{lateDriver: d, read: func(q ingest.Query, rows []ingest.Measure) []ingest.Measure {
			return slices.DeleteFunc(rows, func(m ingest.Measure) bool { return m.Time < q.From })
		}}
	}},
	{"never expires", "Meaning/^expiry$", func(d *naive.Driver) ingest.Driver {
		return mutantDriver{lateDriver: d, ask: func(q *ingest.Query) {
			p := *q.Policy
			p.Definitions = []ingest.Definition{{Granularity: q.Granularity}}
			q.Policy = &p
		}}
	}},
	{"expires one bucket late", "Random/^short_spans$", func(d *naive.Driver) ingest.Driver {
		return mutantDriver{lateDriver: d, ask: func(q *ingest.Query) {
			p := *q.Policy
			definition, _ := p.Find(q.Granularity)
			definition.Timespan++
			p.Definitions = []ingest.Definition{definition}
			q.Policy = &p
		}}
	}},
	{"judges entries one by one", "Meaning/^several_entries_of_one_metric$", func(d *naive.Driver) ingest.Driver {
		const most = 10 // entries of a record
		unscale := func(at *ingest.Watermark) { at.Offset = (at.Offset + most - 1) / most }
		return mutantDriver{lateDriver: d, opened: unscale,
			apply: func(w ingest.SackWriter, records []ingest.Delivery) ([]ingest.Reject, error) {
				for _, r := range records {
					for i, e := range r.Record.Entries {
						part := r
						part.Offset = r.Offset*most + ingest.Offset(i)
						part.Record.Entries = []ingest.Entry{e}
						w.Apply(context.Background(), []ingest.Delivery{part})
					}
				}
				return nil, nil
			},
			flush: func(w ingest.SackWriter, to ingest.Watermark) error {
				to.Offset *= most
				return flush(w, to)
			}}
	}},
}

const mutantVariable = "MILLRACE_TEST_MUTANT"

// The suite fails on every mutant, in the subtest that is about it.
func TestSuiteFindsMutants(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestMutant$/"+m.found, "-test.timeout=1m")
			cmd.Env = append(os.Environ(), mutantVariable+"="+m.name, "MILLRACE_TEST_SEED=1") // the same histories each time
			out, err := cmd.CombinedOutput()
			if _, failed := err.(*exec.ExitError); !failed {
				t.Errorf("the suite finds nothing wrong: %v\n%s", err, out)
			}
			if len(out) > 0 && testing.Verbose() {
				t.Logf("%s", out)
			}
		})
	}
}

// TestMutant runs the suite on one mutant, in a process that TestSuiteFindsMutants
// starts; it does nothing else.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantVariable)
	i := slices.IndexFunc(mutants, func(m mutant) bool { return m.name == name })
	if i < 0 {
		return
	}
	Run(t, func(_ *testing.T, policies ingest.Policies) ingest.Driver {
		return mutants[i].driver(naive.New(policies))
	}, ExpiredKept())
}

// A lateDriver is what mutantDriver changes.
type lateDriver interface {
	ingest.Driver
	ingest.LateReader
}

// A mutantDriver does one thing differently.
type mutantDriver struct {
	lateDriver
	opened func(*ingest.Watermark)
	apply  func(ingest.SackWriter, []ingest.Delivery) ([]ingest.Reject, error)
	flush  func(ingest.SackWriter, ingest.Watermark) error
	ask    func(*ingest.Query)
	read   func(ingest.Query, []ingest.Measure) []ingest.Measure
}

func (d mutantDriver) Open(ctx context.Context, sack ingest.Sack) (ingest.SackWriter, ingest.Watermark, error) {
	w, watermark, err := d.lateDriver.Open(ctx, sack)
	if err != nil {
		return nil, ingest.Watermark{}, err
	}
	if d.opened != nil {
		d.opened(&watermark)
	}
	return mutantWriter{w, d}, watermark, nil
}

func (d mutantDriver) Read(ctx context.Context, queries []ingest.Query, dst [][]ingest.Measure,
	at ingest.Position) (ingest.Position, error) {
	var shown ingest.Position
	for i, q := range queries {
		if d.ask != nil {
			d.ask(&q)
		}
		rows := make([][]ingest.Measure, 1)
		var err error
		if shown, err = d.lateDriver.Read(ctx, []ingest.Query{q}, rows, at); err != nil {
			return nil, err
		}
		if d.read != nil {
			rows[0] = d.read(q, rows[0])
		}
		dst[i] = append(dst[i], rows[0]...)
	}
	return shown, ctx.Err()
}

type mutantWriter struct {
	ingest.SackWriter
	d mutantDriver
}

func (w mutantWriter) Apply(ctx context.Context, records []ingest.Delivery) ([]ingest.Reject, error) {
	if w.d.apply == nil {
		return w.SackWriter.Apply(ctx, records)
	}
	return w.d.apply(w.SackWriter, records)
}

func (w mutantWriter) Flush(ctx context.Context, to ingest.Watermark) ([]ingest.Reject, error) {
	if w.d.flush == nil {
		return w.SackWriter.Flush(ctx, to)
	}
	return nil, w.d.flush(w.SackWriter, to)
}

func flush(w ingest.SackWriter, to ingest.Watermark) error {
	_, err := w.Flush(context.Background(), to)
	return err
}
