package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"ekc/citizen"
)

// sealedFile reads a stored file at any place. It holds a few opened chunks, so memory does not grow with the file. It is for one
// goroutine at a time.
type sealedFile struct {
	ctx  context.Context
	db   citizen.DB
	key  *citizen.DataKey
	list int64
	file int32
	size int64

	recent [openChunks]openChunk // the one used last first
	failed error                 // of the store itself: whoever reads a part of a zip cannot tell it from a damaged file
}

// cause is why reading ended: what the store said, where it said anything.
func (f *sealedFile) cause(err error) error {
	if err != nil && f.failed != nil {
		return f.failed
	}
	return err
}

// openChunks is enough for the directory of a zip beside the two parts that are read in turn.
const openChunks = 4

type openChunk struct {
	no    int32
	plain []byte
}

const readChunkSQL = `SELECT sealed FROM list_file_chunks WHERE list_no = $1 AND file_no = $2 AND chunk_no = $3`

// ReadAt implements io.ReaderAt.
func (f *sealedFile) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		if off >= f.size {
			return n, io.EOF
		}
		chunk, err := f.chunk(int32(off/chunkSize) + 1)
		if err != nil {
			return n, err
		}
		from := int(off % chunkSize)
		if from >= len(chunk) {
			f.failed = fmt.Errorf("stored file of list %d is shorter than it should be", f.list)
			return n, f.failed
		}
		k := copy(p[n:], chunk[from:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

func (f *sealedFile) chunk(no int32) ([]byte, error) {
	for i := range f.recent {
		if c := f.recent[i]; c.no == no {
			copy(f.recent[1:i+1], f.recent[:i])
			f.recent[0] = c
			return c.plain, nil
		}
	}
	last := f.recent[len(f.recent)-1]
	plain, err := openStored(f.ctx, f.db, f.key, f.list, f.file, no, last.plain[:0])
	if err != nil {
		f.failed = err
		return nil, err
	}
	copy(f.recent[1:], f.recent[:])
	f.recent[0] = openChunk{no: no, plain: plain}
	return plain, nil
}

func openStored(ctx context.Context, db citizen.DB, key *citizen.DataKey, list int64, file, chunk int32, dst []byte) ([]byte, error) {
	var sealed []byte
	if err := db.QueryRow(ctx, readChunkSQL, list, file, chunk).Scan(&sealed); err != nil {
		return nil, fmt.Errorf("read chunk %d of list %d: %w", chunk, list, err)
	}
	plain, err := key.Open(dst, sealed, chunkAAD(list, file, chunk))
	if err != nil {
		return nil, fmt.Errorf("open chunk %d of list %d: %w", chunk, list, err)
	}
	return plain, nil
}

func (s *Service) readEnvelope(ctx context.Context, db citizen.DB, list int64, file int32, key *citizen.DataKey) (envelope, error) {
	var e envelope
	plain, err := openStored(ctx, db, key, list, file, 0, nil)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(plain, &e); err != nil {
		return e, fmt.Errorf("read header of list %d: %w", list, err)
	}
	return e, nil
}
