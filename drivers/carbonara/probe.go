package carbonara

import (
	"context"
	"errors"
)

// Probe reads the first byte of the layout, past every cache; see ingest.Prober.
func (d *Driver) Probe(ctx context.Context) error {
	_, err := d.store.Read(ctx, layoutName, "", []Range{{Off: 0, Len: 1}})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
