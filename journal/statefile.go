package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// ErrBehind says that the database does not have what this machine saw in it: it was restored, or failed over to a copy that was
// behind. What it has forgotten may have been sent, so nothing is sent until `ekc recover`.
var ErrBehind = errors.New("the database is behind the state file: it was restored or replaced")

// StateFile keeps, outside the database, how far the journal was seen to go: how many entries had a position, and the hash of
// the last of them. The hash tells when a restored database has since grown past that point with other entries.
type StateFile struct {
	path string

	mu    sync.Mutex
	saved int64
}

// NewStateFile uses the file "position" of the folder, which must exist.
func NewStateFile(dir string) *StateFile { return &StateFile{path: filepath.Join(dir, "position")} }

// Compare returns nil when the database has everything the file saw, or when there is no file yet; else ErrBehind, or why it
// could not be told.
func (f *StateFile) Compare(ctx context.Context, q Querier) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.compare(ctx, q)
}

func (f *StateFile) compare(ctx context.Context, q Querier) error {
	size, leaf, err := f.read()
	if err != nil || size == 0 {
		return err
	}
	head, err := Head(ctx, q)
	if err != nil {
		return err
	}
	if head < size {
		return fmt.Errorf("%w: it has %d journal entries, %d were seen", ErrBehind, head, size)
	}
	leaves, err := readLeaves(ctx, q, size-1, size)
	if err != nil {
		return err
	}
	if !bytes.Equal(leaves[0], leaf) {
		return fmt.Errorf("%w: its journal entry at position %d is another than the one seen", ErrBehind, size-1)
	}
	return nil
}

// Save notes the present end of the journal; when it returns nil, the note is on the disk. It refuses to forget: a database that
// is behind the file gives ErrBehind and the file stays. When nothing was added since the last Save nothing is written.
func (f *StateFile) Save(ctx context.Context, q Querier) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	head, err := Head(ctx, q)
	if err != nil {
		return err
	}
	if head == f.saved && head > 0 {
		return nil
	}
	if err := f.compare(ctx, q); err != nil {
		return err
	}
	return f.write(ctx, q, head)
}

// Accept notes the present end of the journal whatever was seen before: the last step of `ekc recover`.
func (f *StateFile) Accept(ctx context.Context, q Querier) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	head, err := Head(ctx, q)
	if err != nil {
		return err
	}
	return f.write(ctx, q, head)
}

// read returns size 0 when there is no file.
func (f *StateFile) read() (size int64, leaf []byte, err error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read state file: %w", err)
	}
	var word string
	n, err := fmt.Sscanf(string(text), "journal %d %s\n", &size, &word)
	if err == nil && n == 2 && size >= 0 {
		leaf, err = hex.DecodeString(word)
	}
	if err != nil || size < 0 || (len(leaf) != 32) {
		return 0, nil, fmt.Errorf("state file %s cannot be read: expected `journal SIZE HASH`", f.path)
	}
	return size, leaf, nil
}

func (f *StateFile) write(ctx context.Context, q Querier, size int64) error {
	leaf := make([]byte, 32)
	if size > 0 {
		leaves, err := readLeaves(ctx, q, size-1, size)
		if err != nil {
			return err
		}
		leaf = leaves[0]
	}
	if err := replaceFile(f.path, fmt.Appendf(nil, "journal %d %x\n", size, leaf)); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	f.saved = size
	return nil
}

// replaceFile is durable when it returns, and leaves the old content or the new one at a kill anywhere.
func replaceFile(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has been renamed
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
