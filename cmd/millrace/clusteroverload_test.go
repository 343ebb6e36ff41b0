package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	overloadClients  = 64
	overloadBatch    = 1000 // measures
	overloadSlack    = time.Second
	overloadTimeout  = 5 * time.Second // api.timeout
	overloadResident = 512.0           // MiB that a process may take
	overloadKept     = 7 * 24 * 3600   // measures, a second apart, that the policy keeps, by the minute
)

// TestClusterOverload offers an API far more than it takes, for MILLRACE_TEST_OVERLOAD
// (15s): 64 clients that never pause. Each request is taken or refused, in time; the API's
// memory stays flat, the worker's within a bound; and what was taken is there.
func TestClusterOverload(t *testing.T) {
	length := testDuration(t, "MILLRACE_TEST_OVERLOAD", 15*time.Second)
	c := newCluster(t, "MILLRACE_LOG_LEVEL=warn", "MILLRACE_INGEST_MAX_IN_FLIGHT=256KiB", "MILLRACE_INGEST_MAX_AGE=10s",
		"MILLRACE_WORKER_FLUSH_INTERVAL=1s", "MILLRACE_WORKER_TABLE_BYTES=32MiB", "MILLRACE_WORKER_FLUSH_BYTES=8MiB",
		"MILLRACE_WORKER_FETCH_AHEAD=8MiB")
	worker, api := c.start("worker"), c.start("api")
	offers := make([]offers, overloadClients)
	for i := range offers {
		offers[i].metric = c.metric(api)
	}
	until := time.Now().Add(length)
	var offering sync.WaitGroup
	for i := range offers {
		offering.Go(func() { offers[i].make(api, until) })
	}
	var peaks [2][2]float64 // MiB of each process, in each half
	for began := time.Now(); time.Now().Before(until); time.Sleep(length / 200) {
		half := min(1, int(2*time.Since(began)/length))
		for i, p := range []*process{api, worker} {
			peaks[i][half] = max(peaks[i][half], residentMiB(t, p.cmd.Process.Pid))
		}
	}
	offering.Wait()
	judgeOffers(t, api, offers)
	for i, name := range []string{"API", "worker"} {
		if first, second := peaks[i][0], peaks[i][1]; i == 0 && second > 1.3*first || second > overloadResident {
			t.Errorf("the %s takes %.0f MiB, and before %.0f", name, second, first)
		}
	}
	for i := range offers {
		o := &offers[i]
		most := min(o.acceptedMeasures(), overloadKept)
		least := most
		if o.acceptedMeasures() > overloadKept { // the newest minute, of all that are kept, may be a part of one
			least -= 59
		}
		if got := c.count(api, o.metric, o.position); o.position != "" && (got < least || got > most) {
			t.Errorf("%d measures of metric %s can be read, want %d to %d", got, o.metric, least, most)
		}
	}
	t.Logf("suite: overload for %s: peaks of %.0f and %.0f MiB of the API, %.0f and %.0f of the worker, in either half",
		length, peaks[0][0], peaks[0][1], peaks[1][0], peaks[1][1])
}

// Offers are what one client has offered of a metric of its own, and the answers.
type offers struct {
	metric   string
	offered  int
	answers  map[int]int // by status
	position string      // of what was taken last
	longest  time.Duration
	wrong    []string
}

func (o *offers) acceptedMeasures() int { return o.answers[http.StatusAccepted] * overloadBatch }

// make posts batch after batch until a time: the next one when this one was taken, else
// the same again, at once.
func (o *offers) make(p *process, until time.Time) {
	o.answers = map[int]int{}
	client := &http.Client{Timeout: time.Minute}
	for time.Now().Before(until) {
		body := measuresFrom(o.acceptedMeasures(), overloadBatch)
		req, err := http.NewRequest("POST", p.base.String()+"/v1/metric/"+o.metric+"/measures", strings.NewReader(body))
		if err != nil {
			o.wrong = append(o.wrong, err.Error())
			return
		}
		req.SetBasicAuth("admin", "")
		req.Header.Set("Content-Type", "application/json")
		o.offered++
		began := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			o.wrong = append(o.wrong, err.Error())
			return
		}
		resp.Body.Close()
		o.longest = max(o.longest, time.Since(began))
		o.take(resp)
	}
}

func (o *offers) take(resp *http.Response) {
	o.answers[resp.StatusCode]++
	switch resp.StatusCode {
	case http.StatusAccepted:
		o.position = resp.Header.Get("Millrace-Position")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 1 {
			o.wrong = append(o.wrong, fmt.Sprintf("%d with Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After")))
		}
	default:
		o.wrong = append(o.wrong, fmt.Sprintf("status %d", resp.StatusCode))
	}
}

// judgeOffers has every offer be answered, as it must and in time, and both answers occur.
func judgeOffers(t *testing.T, p *process, all []offers) {
	t.Helper()
	offered, accepted, refused := 0, 0, 0
	var longest time.Duration
	for i := range all {
		o := &all[i]
		offered += o.offered
		accepted += o.answers[http.StatusAccepted]
		refused += o.answers[http.StatusServiceUnavailable] + o.answers[http.StatusTooManyRequests]
		longest = max(longest, o.longest)
		if len(o.wrong) > 0 {
			t.Errorf("%d wrong answers: %v\n%s", len(o.wrong), slices.Compact(o.wrong), tail(p.log.String()))
		}
	}
	if accepted+refused != offered || accepted == 0 || refused == 0 {
		t.Errorf("%d requests offered, %d accepted, %d refused", offered, accepted, refused)
	}
	if longest > overloadTimeout+overloadSlack {
		t.Errorf("an answer took %s", longest)
	}
	t.Logf("suite: %d requests offered, %d accepted, %d refused, the slowest answer after %s", offered, accepted, refused,
		longest.Round(time.Millisecond))
}
