package journal

import (
	"bytes"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
)

func TestHashesAreThoseOfRFC6962(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 55, 511, 512, 513, maxEntry} {
		entry := bytes.Repeat([]byte{byte(n), 0xA5}, n/2+1)[:n]
		if got, want := leafHash(entry), rfc6962.DefaultHasher.HashLeaf(entry); !bytes.Equal(got, want) {
			t.Errorf("leaf of %d bytes: %x, want %x", n, got, want)
		}
		left, right := leafHash(entry), leafHash([]byte{1})
		if got, want := nodeHash(left, right), rfc6962.DefaultHasher.HashChildren(left, right); !bytes.Equal(got, want) {
			t.Errorf("node over a leaf of %d bytes: %x, want %x", n, got, want)
		}
	}
}
