package journal

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// rootSize is how many positions one row of roots covers. A power of two, so that every root is a node of the whole tree.
const rootSize = 256

var tree = compact.RangeFactory{Hash: nodeHash}

// leafHash and nodeHash are those of RFC 6962 §2.1, as rfc6962.DefaultHasher has them; two of them for every entry are worth doing
// without the memory it takes.
func leafHash(entry []byte) []byte {
	var b [512]byte
	sum := sha256.Sum256(append(append(b[:0], rfc6962.RFC6962LeafHashPrefix), entry...))
	return sum[:]
}

func nodeHash(left, right []byte) []byte {
	sum := sumNode(left, right)
	return sum[:]
}

func sumNode(left, right []byte) [sha256.Size]byte {
	var b [1 + 2*sha256.Size]byte
	return sha256.Sum256(append(append(append(b[:0], rfc6962.RFC6962NodeHashPrefix), left...), right...))
}

// rootOf returns the RFC 6962 §2.1 hash over the leaves of a full block: of as many as a power of two, level by level.
func rootOf(leaves [][]byte) []byte {
	level := make([][sha256.Size]byte, len(leaves)/2)
	for i := range level {
		level[i] = sumNode(leaves[2*i], leaves[2*i+1])
	}
	for ; len(level) > 1; level = level[:len(level)/2] {
		for i := range len(level) / 2 {
			level[i] = sumNode(level[2*i][:], level[2*i+1][:])
		}
	}
	return level[0][:]
}

func rootHash(r *compact.Range) []byte {
	if r.End() == 0 {
		return rfc6962.DefaultHasher.EmptyRoot()
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		panic(err) // only for a range that does not begin at 0
	}
	return root
}

// readLeaves returns the leaf hashes of the positions from ≤ p < to, all of them or a Fault.
func readLeaves(ctx context.Context, q Querier, from, to int64) ([][]byte, error) {
	if from == to {
		return nil, nil
	}
	spans, err := readSpans(ctx, q, from, to)
	if err != nil {
		return nil, err
	}
	rows, err := readRows(ctx, q, spans, filter{})
	if err != nil {
		return nil, err
	}
	leaves := make([][]byte, 0, to-from)
	err = walk(spans, rows, true, func(_, _ int64, _ *row, entry []byte) error {
		leaves = append(leaves, leafHash(entry))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if n := int64(len(leaves)); n < to-from {
		return nil, &Fault{Position: from + n, Count: to - from - n, What: "positions are missing"}
	}
	return leaves, nil
}

// Checkpoint fixes the journal up to a size: Root is the RFC 6962 tree hash over the first Size entries. Whoever keeps one
// notices any change before it.
type Checkpoint struct {
	Size int64
	Root []byte
}

const rootsSQL = `SELECT no, root FROM roots WHERE no < $1 ORDER BY no`

// CheckpointAt returns the checkpoint of the first size entries, from the stored roots and the entries after the last of them.
func CheckpointAt(ctx context.Context, q Querier, size int64) (Checkpoint, error) {
	head, err := Head(ctx, q)
	if err != nil {
		return Checkpoint{}, err
	}
	if size < 0 || size > head {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d journal entries: there are %d", size, head)
	}
	// The stored roots are the leaves of the upper part of the tree.
	upper := tree.NewEmptyRange(0)
	rows, err := q.Query(ctx, rootsSQL, size/rootSize)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read journal roots: %w", err)
	}
	var no int64
	var root []byte
	_, err = pgx.ForEachRow(rows, []any{&no, &root}, func() error {
		if no != int64(upper.End()) {
			return &Fault{Position: int64(upper.End()) * rootSize, Count: rootSize, What: "its root is missing"}
		}
		return upper.Append(root, nil)
	})
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read journal roots: %w", err)
	}
	// After a kill the last roots may not be there yet, so the lower part can be longer than one block.
	rest, err := readLeaves(ctx, q, int64(upper.End())*rootSize, size)
	if err != nil {
		return Checkpoint{}, err
	}
	for ; len(rest) >= rootSize; rest = rest[rootSize:] {
		if err := upper.Append(rootOf(rest[:rootSize]), nil); err != nil {
			return Checkpoint{}, err
		}
	}
	lower := tree.NewEmptyRange(0)
	for _, h := range rest {
		if err := lower.Append(h, nil); err != nil {
			return Checkpoint{}, err
		}
	}
	whole, err := tree.NewRange(0, uint64(size), append(upper.Hashes(), lower.Hashes()...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("join journal tree: %w", err)
	}
	return Checkpoint{Size: size, Root: rootHash(whole)}, nil
}
