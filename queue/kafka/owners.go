package kafka

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// Owners tells, for each sack, the Config.Client of the worker that the group has given it
// to; "" where it has no member for it, as while a generation is being made. Who should own
// a sack is the group's to say, who does the storage's: a worker that is thrown out may
// own one for a moment longer.
func (l *Log) Owners(ctx context.Context) ([]string, error) {
	answer, err := l.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{l.config.Group}})
	if err != nil {
		return nil, unavailable(fmt.Errorf("cannot ask who is in the group %s: %w", l.config.Group, err))
	}
	owners := make([]string, l.sacks)
	for _, group := range answer.Groups {
		if group.Error != nil {
			return nil, unavailable(fmt.Errorf("cannot ask who is in the group %s: %w", l.config.Group, group.Error))
		}
		for _, member := range group.Members {
			for _, topic := range member.MemberAssignments.Topics {
				for _, p := range topic.Partitions {
					if topic.Topic == l.config.Topic && p >= 0 && p < l.sacks {
						owners[p] = member.ClientID
					}
				}
			}
		}
	}
	return owners, nil
}
