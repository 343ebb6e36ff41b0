package api

import (
	"errors"
	"net/http"

	"millrace/api/auth"
	"millrace/index"
	"millrace/ingest"
)

// A ruleDoc is an archive policy rule as the API shows it.
type ruleDoc struct {
	Name    string `json:"name"`
	Pattern string `json:"metric_pattern"`
	Policy  string `json:"archive_policy_name"`
}

// findRule looks the path's rule up.
func (q *request) findRule() (err error) {
	q.rule, err = q.index.Rule(q.ctx, q.params[0])
	return err
}

func (q *request) listRules() error {
	rules, err := q.index.Rules(q.ctx)
	if err != nil {
		return err
	}
	list := make([]ruleDoc, len(rules))
	for i, r := range rules {
		list[i] = ruleDoc(r)
	}
	return q.json(http.StatusOK, list)
}

func (q *request) postRule() error {
	var r index.Rule
	err := q.decode(fields(
		required("name", text(&r.Name, maxName)),
		required("metric_pattern", text(&r.Pattern, maxName)),
		required("archive_policy_name", text(&r.Policy, maxName)),
	))
	if err != nil {
		return err
	}
	err = q.index.CreateRule(q.ctx, r)
	if errors.Is(err, ingest.ErrNoPolicy) {
		return badRequest(cause{cause: "Archive policy does not exist", detail: r.Policy})
	}
	if err != nil {
		return err
	}
	q.w.Header().Set("Location", q.base()+"/v1/archive_policy_rule/"+escapeSegment(r.Name))
	return q.json(http.StatusCreated, ruleDoc(r))
}

func (q *request) getRule() error { return q.json(http.StatusOK, ruleDoc(q.rule)) }

// patchRule reads the body before it asks for permission, as Gnocchi does.
func (q *request) patchRule() error {
	var name string
	if err := q.decode(fields(required("name", text(&name, maxName)))); err != nil {
		return err
	}
	if !q.who.Permit(auth.UpdateArchivePolicyRule).Always() {
		return forbidden()
	}
	r, err := q.index.RenameRule(q.ctx, q.rule.Name, name)
	if errors.Is(err, index.ErrExists) {
		return badRequest("Archive policy rule " + q.rule.Name + " does not support change: Archive policy rule " + name +
			" already exists.")
	}
	if err != nil {
		return err
	}
	return q.json(http.StatusOK, ruleDoc(r))
}

func (q *request) deleteRule() error {
	if err := q.index.DeleteRule(q.ctx, q.rule.Name); err != nil {
		return err
	}
	return q.empty(http.StatusNoContent)
}
