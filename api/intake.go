package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"millrace/api/auth"
	"millrace/index"
	"millrace/ingest"
	"millrace/intake"
)

// caller is who sends the request, as the intake asks about them.
func (q *request) caller() *intake.Caller {
	permit := func(r auth.Rule) intake.Permit { return q.who.Permit(r).For }
	return &intake.Caller{
		Creator: q.who.Creator, Account: q.who.Account(), Trace: q.traceparent(),
		PostMeasures: permit(auth.PostMeasures), CreateMetric: permit(auth.CreateMetric),
		CreateResource: permit(auth.CreateResource), UpdateResource: permit(auth.UpdateResource),
	}
}

func (p preferences) handling() intake.Handling {
	switch {
	case p.lenient:
		return intake.Lenient
	case p.strict:
		return intake.Strict
	}
	return intake.Default
}

// takeIn puts measures of metrics that are known by resource and name into the log.
// Its errors are answers, but for those that concern one series, which the protocol
// has words for: *intake.NameError and *ingest.BadMeasureError.
func (q *request) takeIn(b *intake.Batch, p preferences) (*intake.Result, error) {
	result, err := q.intake.Accept(q.ctx, q.caller(), b, p.handling())
	if err != nil {
		return nil, q.notTakenIn(b, err)
	}
	return result, nil
}

// notTakenIn makes answers of the errors of the intake.
func (q *request) notTakenIn(b *intake.Batch, err error) error {
	if e, ok := errors.AsType[*intake.UnfinishedError](err); ok {
		return q.unfinished(e)
	}
	if e, ok := errors.AsType[*intake.UnknownMetricsError](err); ok {
		return unknownNamed(b, e)
	}
	if e, ok := errors.AsType[*intake.UnknownResourcesError](err); ok {
		return unknownResources(e)
	}
	if e, ok := errors.AsType[*intake.NoRuleError](err); ok {
		return badRequest(e.Error())
	}
	if e, ok := errors.AsType[*intake.ConflictError](err); ok {
		return &failure{
			status:      http.StatusConflict,
			description: cause{cause: "Resource already exists", detail: e.Resource.ID.String()},
		}
	}
	if e, ok := errors.AsType[*index.ObjectError](err); ok && e.Kind == index.KindPolicy {
		return badRequest(e.Error())
	}
	if errors.Is(err, intake.ErrForbidden) {
		return forbidden()
	}
	return err
}

// unfinished says what was done for a batch whose measures may not be in the log.
func (q *request) unfinished(e *intake.UnfinishedError) error {
	err := q.notAccepted(e.Err)
	if errors.Is(e.Err, intake.ErrForbidden) {
		err = forbidden()
	}
	f := failureOf(err)
	if f == nil || e.Created == (intake.Created{}) {
		return err
	}
	said := *f
	text, _ := f.description.(string)
	said.description = strings.TrimSpace(
		fmt.Sprintf(
			"%s (%d resources and %d metrics were created, and stay.)", text, e.Created.Resources, e.Created.Metrics,
		),
	)
	return &said
}

// unknownNamed names metrics that don't exist as RESOURCE/NAME, sorted.
func unknownNamed(b *intake.Batch, e *intake.UnknownMetricsError) error {
	names := make([]string, len(e.Metrics))
	for i, at := range e.Metrics {
		s := &b.Series[at]
		names[i] = b.Resources[s.Resource].ID.String() + "/" + string(s.Name)
	}
	slices.Sort(names)
	text := "Unknown metrics: " + strings.Join(names[:min(len(names), maxRejects)], ", ")
	if more := len(names) - maxRejects; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return &unknownError{badRequest(text)}
}

// unknownResources lists resources that don't exist, in a form by which clients find
// those that they have to create.
func unknownResources(e *intake.UnknownResourcesError) error {
	type unknown struct {
		Resource index.ResourceID `json:"resource_id"`
		Original string           `json:"original_resource_id"`
	}
	list := make([]unknown, len(e.Resources))
	for i, r := range e.Resources {
		list[i] = unknown{r.ID, strings.Clone(r.Original)} // it may be a view of the body
	}
	return &unknownError{badRequest(cause{cause: "Unknown resources", detail: list})}
}

// rejectsOf lists what was left out. A measure stands where its series says.
func rejectsOf(b *intake.Batch, result *intake.Result) []reject {
	var list []reject
	for _, r := range result.Rejects {
		s := &b.Series[r.Series]
		item := reject{Metric: b.Resources[s.Resource].Original + "/" + string(s.Name), Reason: r.Reason}
		if r.Measure >= 0 {
			item.Measure, item.Field = &r.Measure, "timestamp"
		}
		list = append(list, item)
	}
	return list
}

// nameOf is a series' metric, for messages.
func nameOf(b *intake.Batch, series int) string {
	if series < 0 || series >= len(b.Series) {
		return ""
	}
	s := &b.Series[series]
	return b.Resources[s.Resource].Original + "/" + string(s.Name)
}

var _ intake.Acceptor = (*ingest.Acceptor)(nil)
