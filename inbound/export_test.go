package inbound

import "context"

// Sweep is one sweep, now.
func (r *Register) Sweep(ctx context.Context) error { return r.sweep(ctx) }
