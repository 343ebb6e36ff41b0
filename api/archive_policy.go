package api

import (
	"net/http"
	"time"

	"millrace/api/auth"
	"millrace/ingest"
)

// maxName bounds the names of archive policies, rules and metrics, in characters.
const maxName = 255

// A policyDoc is an archive policy as the API shows it.
type policyDoc struct {
	Name       string          `json:"name"`
	BackWindow int             `json:"back_window"`
	Definition []definitionDoc `json:"definition"`
	Methods    []string        `json:"aggregation_methods"`
}

type definitionDoc struct {
	Granularity time.Duration  `json:"granularity"`
	Points      *int64         `json:"points"` // null: kept for ever
	Timespan    *time.Duration `json:"timespan"`
}

func newPolicyDoc(p *ingest.ArchivePolicy) policyDoc {
	doc := policyDoc{Name: p.Name, BackWindow: p.BackWindow, Methods: p.Methods.Names()}
	for _, d := range p.Definitions {
		one := definitionDoc{Granularity: d.Granularity}
		if d.Points > 0 {
			one.Points, one.Timespan = &d.Points, &d.Timespan
		}
		doc.Definition = append(doc.Definition, one)
	}
	return doc
}

func (q *request) listPolicies() error {
	policies, err := q.index.Policies(q.ctx)
	if err != nil {
		return err
	}
	list := make([]policyDoc, len(policies))
	for i, p := range policies {
		list[i] = newPolicyDoc(p)
	}
	return q.json(http.StatusOK, list)
}

func (q *request) postPolicy() error {
	var p ingest.ArchivePolicy
	var window int64
	var methods []string
	err := q.decode(fields(
		required("name", text(&p.Name, maxName)),
		optional("back_window", integer(&window, 0)),
		required("definition", definitions(&p.Definitions)),
		optional("aggregation_methods", methodItems(&methods)),
	))
	if err != nil {
		return err
	}
	p.BackWindow = int(window)
	if p.Methods, err = ingest.ExpandMethods(methods, *q.config.DefaultMethods); err != nil {
		return err // methodItems has looked at each
	}
	if err := complete(p.Definitions); err != nil {
		return err
	}
	if err := p.Validate(); err != nil {
		return badRequest(err.Error())
	}
	if err := q.index.CreatePolicy(q.ctx, &p); err != nil {
		return err
	}
	q.w.Header().Set("Location", q.base()+"/v1/archive_policy/"+escapeSegment(p.Name))
	return q.json(http.StatusCreated, newPolicyDoc(&p))
}

func (q *request) getPolicy() error {
	p, err := q.index.Policy(q.ctx, q.params[0])
	if err != nil {
		return err
	}
	return q.json(http.StatusOK, newPolicyDoc(p))
}

// patchPolicy looks the policy up before it asks for permission, as Gnocchi does.
func (q *request) patchPolicy() error {
	name := q.params[0]
	if _, err := q.index.Policy(q.ctx, name); err != nil {
		return err
	}
	if !q.who.Permit(auth.UpdateArchivePolicy).Always() {
		return forbidden()
	}
	var given []ingest.Definition
	var window int64
	newWindow := false
	err := q.decode(fields(
		required("definition", definitions(&given)),
		optional("back_window", func(v any) error { newWindow = true; return integer(&window, 0)(v) }),
	))
	if err != nil {
		return err
	}
	if err := complete(given); err != nil {
		return err
	}
	var backWindow *int
	if newWindow {
		w := int(window)
		backWindow = &w
	}
	p, err := q.index.UpdatePolicy(q.ctx, name, given, backWindow)
	if err != nil {
		return err
	}
	return q.json(http.StatusOK, newPolicyDoc(p))
}

func (q *request) deletePolicy() error {
	if err := q.index.DeletePolicy(q.ctx, q.params[0]); err != nil {
		return err
	}
	return q.empty(http.StatusNoContent)
}

// definitions checks the definition of an archive policy.
func definitions(into *[]ingest.Definition) check {
	return list(1, func(v any) error {
		var d ingest.Definition
		err := fields(
			optional("granularity", timespan(&d.Granularity)),
			optional("points", integer(&d.Points, 1)),
			optional("timespan", timespan(&d.Timespan)),
		)(v)
		*into = append(*into, d)
		return err
	})
}

// methodItems checks the aggregation_methods of an archive policy, item by item.
func methodItems(into *[]string) check {
	return list(0, func(v any) error {
		name, ok := v.(string)
		if !ok {
			return wrong("not a valid value")
		}
		if _, err := ingest.ExpandMethods([]string{name}, ingest.MethodSet{}); err != nil {
			return wrong("not a valid value")
		}
		*into = append(*into, name)
		return nil
	})
}

// complete fills in what follows from what was given of each definition.
func complete(definitions []ingest.Definition) error {
	for i, d := range definitions {
		whole, err := d.Complete()
		if err != nil {
			return badRequest(err.Error())
		}
		definitions[i] = whole
	}
	return nil
}
