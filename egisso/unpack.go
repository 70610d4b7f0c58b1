package egisso

import (
	"errors"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// unpackedMost is what one batch of a producer's may come to once it is unpacked: some kilobytes can be made to unpack to gigabytes.
const unpackedMost = 64 << 20

var errUnpacked = errors.New("a batch of the topic unpacks to more than 64 MiB")

// kafka-go has one table of codecs for the whole program, and no other way in; it is set before anything reads it.
var _ = boundCodecs()

func boundCodecs() bool {
	for i, codec := range compress.Codecs {
		if codec != nil {
			compress.Codecs[i] = boundedCodec{codec}
		}
	}
	return true
}

type boundedCodec struct{ compress.Codec }

func (c boundedCodec) NewReader(r io.Reader) io.ReadCloser {
	return &boundedReader{c.Codec.NewReader(r), unpackedMost}
}

type boundedReader struct {
	io.ReadCloser
	left int
}

func (r *boundedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.left -= n; r.left < 0 {
		return 0, errUnpacked
	}
	return n, err
}
