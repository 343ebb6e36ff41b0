package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"millrace/ingest"
)

// The headers that Millrace adds to the v1 API.
const (
	headerPosition = "Millrace-Position"
	headerLate     = "Millrace-Late"
)

// timeToAnswer is what a wait leaves of a request's time.
const timeToAnswer = 500 * time.Millisecond

// preferences are what a Prefer header asks for, of what we know.
type preferences struct {
	wait    time.Duration // 0: not at all
	lenient bool          // take what is good, list the rest
	strict  bool          // take all or nothing
}

// parsePrefer reads Prefer headers (RFC 7240): of a preference given twice the
// first counts, and one that makes no sense is ignored.
func parsePrefer(headers []string) preferences {
	var p preferences
	seenWait, seenHandling := false, false
	for _, header := range headers {
		for item := range strings.SplitSeq(header, ",") {
			item, _, _ = strings.Cut(item, ";")
			name, value, _ := strings.Cut(item, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "wait":
				if n, err := strconv.ParseUint(value, 10, 31); err == nil && !seenWait {
					p.wait = time.Duration(n) * time.Second
				}
				seenWait = true
			case "handling":
				if !seenHandling {
					p.lenient, p.strict = strings.EqualFold(value, "lenient"), strings.EqualFold(value, "strict")
				}
				seenHandling = true
			}
		}
	}
	return p
}

func (q *request) preferences() preferences { return parsePrefer(q.r.Header["Prefer"]) }

// applied tells the client which preferences were honoured.
func (q *request) applied(preference string) { q.w.Header().Add("Preference-Applied", preference) }

// waited says that a wait was honoured to its end.
func (q *request) waited(p preferences) {
	q.applied("wait=" + strconv.Itoa(int(p.wait/time.Second)))
}

// await waits until everything before position has been applied: at most limit,
// at most Config.WaitCap, and in any case leaving time to answer.
func (q *request) await(position ingest.Position, limit time.Duration) bool {
	limit = min(limit, q.config.WaitCap)
	if deadline, ok := q.ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-timeToAnswer)
	}
	ctx, cancel := context.WithTimeout(q.ctx, limit)
	defer cancel()
	reached := q.progress.Wait(ctx, position) == nil
	if reached {
		if q.at == nil {
			q.at = make(ingest.Position, q.sacks)
		}
		q.at.Add(position)
	}
	q.metrics.waited(q.ctx, reached)
	return reached
}

// awaitPosition makes a read wait for the positions in its Millrace-Position
// header, if it has one: each is a token that a write was answered with.
func (q *request) awaitPosition() error {
	headers := q.r.Header[headerPosition]
	if len(headers) == 0 {
		return nil
	}
	position := make(ingest.Position, q.sacks)
	for _, header := range headers {
		for token := range strings.SplitSeq(header, ",") {
			t, err := ingest.ParseTicket(strings.TrimSpace(token), q.sacks)
			if err != nil {
				return badRequest(headerPosition + ": " + err.Error())
			}
			position.Add(t.Position)
		}
	}
	if !q.await(position, q.config.WaitCap) {
		return q.lagging("The position asked for has not been applied yet.", position)
	}
	return nil
}

// refresh waits until everything that was accepted before for some metrics has been
// applied. The metrics' own sacks are all that it waits for.
func (q *request) refresh(ids ...ingest.MetricID) error {
	if len(ids) == 0 {
		return nil
	}
	end, err := q.ender.End(q.ctx)
	if err != nil {
		q.log.Error("cannot tell where the log ends", "err", err)
		return unavailable("Unable to refresh metric: " + ids[0].String() + ". Please try again.")
	}
	position := make(ingest.Position, q.sacks)
	for _, id := range ids {
		sack := ingest.SackOf(id, q.sacks)
		position[sack] = end[sack]
	}
	if !q.await(position, q.config.WaitCap) {
		return q.lagging("Unable to refresh metric: "+ids[0].String()+". Please try again.", position)
	}
	return nil
}

// lagging is the 503 of a read that waited in vain, with the lag of the sacks
// that it waited for.
func (q *request) lagging(reason string, position ingest.Position) error {
	if f := q.standstill(position); f != nil {
		return f
	}
	lag := q.lagOf(position)
	f := unavailable("")
	f.description = cause{
		cause:  "Measures are still waiting to be applied",
		reason: fmt.Sprintf("%s %d records are waiting, the oldest for %g s", reason, lag.Records, lag.Age),
		detail: map[string]any{"lag": lag},
	}
	return f
}

// standstill is the 500 of a read that waits for a sack whose log or storage is damaged,
// which waiting longer doesn't mend; nil when no sack of the position is. What the
// damage is in is the administrator's business.
func (q *request) standstill(position ingest.Position) error {
	for _, lag := range q.progress.Lag(q.ctx) {
		damaged := errors.Is(lag.Err, ingest.ErrCorrupted) || errors.Is(lag.Err, ingest.ErrDamaged)
		if position[lag.Sack] == 0 || !damaged {
			continue
		}
		text := fmt.Sprintf("Sack %d stands still until its damage is repaired", lag.Sack)
		if q.who.Has("admin") {
			text += ": " + lag.Err.Error()
		}
		return &failure{status: http.StatusInternalServerError, description: text}
	}
	return nil
}

// lagOf returns the lag of the sacks of a position. Why one stands still is the
// administrator's business.
func (q *request) lagOf(position ingest.Position) lagDoc {
	lags := q.progress.Lag(q.ctx)
	kept := lags[:0]
	for _, lag := range lags {
		if position[lag.Sack] > 0 {
			kept = append(kept, lag)
		}
	}
	doc := newLagDoc(sumLags(kept))
	if !q.who.Has("admin") {
		doc.Error = ""
	}
	return doc
}
