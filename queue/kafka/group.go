package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"millrace/ingest"
)

// A Group is the workers of a deployment, sharing its sacks: an ingest.Assigner. A new
// generation of it is not a stop of the world: what stays is not even told.
type Group struct {
	log *Log

	mu         sync.Mutex
	generation *kafka.Generation // the last one; nil before the first
	applied    map[ingest.Sack]ingest.Watermark
	dirty      map[ingest.Sack]bool // not yet committed
	wake       chan struct{}        // capacity 1
}

var _ ingest.Assigner = (*Group)(nil)

// Group returns the group of this log's workers. It is joined by Run.
func (l *Log) Group() *Group {
	return &Group{
		log: l, applied: make(map[ingest.Sack]ingest.Watermark), dirty: make(map[ingest.Sack]bool),
		wake: make(chan struct{}, 1),
	}
}

// Run is a member of the group until ctx ends; see ingest.Assigner. While no coordinator
// can be reached the last assignment stands.
func (g *Group) Run(ctx context.Context, held func() []ingest.Claim, assign func(ingest.Assignment)) error {
	c := &g.log.config
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: c.Group, Brokers: c.Brokers, Topics: []string{c.Topic}, StartOffset: kafka.FirstOffset,
		Dialer: &kafka.Dialer{ClientID: c.Client, Timeout: 3 * time.Second, TLS: c.TLS, SASLMechanism: c.SASL,
			DualStack: true},
		GroupBalancers:    []kafka.GroupBalancer{&balancer{c.Topic, g.log.sacks, held}},
		HeartbeatInterval: c.Heartbeat, SessionTimeout: c.Session, RebalanceTimeout: c.Session,
		JoinGroupBackoff: c.RejoinPause,
		Timeout:          c.Session,
	})
	if err != nil {
		return fmt.Errorf("cannot join the group %s: %w", c.Group, err)
	}
	var committing sync.WaitGroup
	committing.Go(func() { g.commitHints(ctx) })
	defer committing.Wait()
	for {
		generation, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return g.leave(group)
		case errors.Is(err, kafka.ErrGroupClosed):
			return err
		case err != nil:
			g.log.alarms.warn(g.log, "cannot join the group of workers; trying again", "group", c.Group, "err", err)
			continue
		}
		g.mu.Lock()
		g.generation = generation
		g.mu.Unlock()
		a := ingest.Assignment{Generation: int64(generation.ID)}
		for _, p := range generation.Assignments[c.Topic] {
			if p.ID < g.log.sacks {
				a.Sacks = append(a.Sacks, ingest.Sack(p.ID))
			}
		}
		assign(a)
	}
}

// leave tells the coordinator that this member is gone, so that others take over now and
// not when its session has ended.
func (g *Group) leave(group *kafka.ConsumerGroup) error {
	g.commit(context.Background()) // the last word, for the others' lag
	if err := group.Close(); err != nil && !errors.Is(err, kafka.ErrGroupClosed) {
		return fmt.Errorf("cannot leave the group %s: %w", g.log.config.Group, err)
	}
	return nil
}

// Confirm sends a heartbeat as a member of the last generation, which the coordinator
// refuses if there has been another since.
func (g *Group) Confirm(ctx context.Context) error {
	g.mu.Lock()
	generation := g.generation
	g.mu.Unlock()
	if generation == nil {
		return errors.New("the group has not been joined")
	}
	answer, err := g.log.client.Heartbeat(ctx, &kafka.HeartbeatRequest{
		GroupID: generation.GroupID, GenerationID: generation.ID, MemberID: generation.MemberID,
	})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return fmt.Errorf("generation %d of the group %s is not confirmed: %w", generation.ID, generation.GroupID, err)
	}
	return nil
}

// Applied notes how far a sack has come; it is committed soon.
func (g *Group) Applied(sack ingest.Sack, at ingest.Watermark) {
	g.mu.Lock()
	g.applied[sack] = ingest.Watermark{Offset: at.Offset, Last: at.Last}
	g.dirty[sack] = true
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// commitHints commits what is new until ctx ends, all sacks in one request.
func (g *Group) commitHints(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		}
		g.commit(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(g.log.config.CommitPeriod):
		}
	}
}

// commit commits what is new. It is a hint only: what fails is said again with the next.
func (g *Group) commit(ctx context.Context) {
	g.mu.Lock()
	generation := g.generation
	dirty := g.dirty
	g.dirty = make(map[ingest.Sack]bool)
	g.mu.Unlock()
	if generation == nil || len(dirty) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.log.config.Session)
	defer cancel()
	if err := g.send(ctx, generation, g.hints(generation, dirty)); err != nil && ctx.Err() == nil {
		g.log.log.Debug("cannot commit offsets", "err", err)
	}
}

// hints are the commits of the sacks, of those given, that are this member's. Their
// metadata says which log an offset is of, and when the record before it was accepted.
func (g *Group) hints(generation *kafka.Generation, of map[ingest.Sack]bool) []kafka.OffsetCommit {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []kafka.OffsetCommit
	for _, p := range generation.Assignments[g.log.config.Topic] {
		sack := ingest.Sack(p.ID)
		at := g.applied[sack]
		if own := g.log.own(at.Offset); of[sack] && own >= 0 {
			list = append(list, kafka.OffsetCommit{
				Partition: p.ID, Offset: own, Metadata: fmt.Sprintf("%d %d", g.log.id.Base, at.Last.AcceptedAt),
			})
		}
	}
	return list
}

func (g *Group) send(ctx context.Context, generation *kafka.Generation, hints []kafka.OffsetCommit) error {
	if len(hints) == 0 {
		return nil
	}
	topic := g.log.config.Topic
	answer, err := g.log.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: generation.GroupID, GenerationID: int(generation.ID), MemberID: generation.MemberID,
		Topics: map[string][]kafka.OffsetCommit{topic: hints},
	})
	if err != nil {
		return fmt.Errorf("cannot commit offsets: %w", err)
	}
	for _, p := range answer.Topics[topic] {
		if p.Error != nil {
			return fmt.Errorf("cannot commit the offset of %s: %w", g.log.where(p.Partition), p.Error)
		}
	}
	return nil
}

// Hints tells how far the owners of all sacks have come, in one request.
func (l *Log) Hints(ctx context.Context, dst []ingest.Offset) error {
	all := make([]int, l.sacks)
	for s := range all {
		all[s] = s
	}
	answer, err := l.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: l.config.Group,
		Topics: map[string][]int{l.config.Topic: all}})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return fmt.Errorf("cannot fetch committed offsets: %w", err)
	}
	for _, p := range answer.Topics[l.config.Topic] {
		base, _, _ := strings.Cut(p.Metadata, " ")
		of, err := strconv.ParseInt(base, 10, 64)
		if p.Error == nil && err == nil && ingest.Offset(of) == l.id.Base && p.CommittedOffset >= 0 &&
			p.Partition < len(dst) {
			dst[p.Partition] = l.offset(p.CommittedOffset)
		}
	}
	return nil
}
