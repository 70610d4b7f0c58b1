package citizen

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/subtle/random"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset is the Provider made of two Tink keysets: one wraps data keys (AES-256-GCM), one makes keyed digests (HMAC-SHA256). It is
// kept outside the database, in a file or the environment; whoever has both can read everything. It never prints.
//
// Rotation adds keys and drops none: data keys go with what they sealed, and a refusal outlives the phone number its digest was
// computed from, so its index key must outlive it too.
type Keyset struct {
	wrapping, index *keyset.Handle
	wrap            tink.AEAD
	digesters       []*digester // one for each index key, the current one first
}

// digester computes HMAC-SHA256 under one index key, as Tink's PRF of that key does, without setting the key up anew for every digest:
// each row admitted has several.
type digester struct{ macs sync.Pool }

type reusedMAC struct {
	hash.Hash
	sum [sha256.Size]byte
}

func newDigester(key []byte) *digester {
	return &digester{sync.Pool{New: func() any { return &reusedMAC{Hash: hmac.New(sha256.New, key)} }}}
}

func (d *digester) digest(data []byte) Digest {
	mac := d.macs.Get().(*reusedMAC)
	defer d.macs.Put(mac)
	mac.Reset()
	mac.Write(data)
	mac.Sum(mac.sum[:0])
	return Digest(mac.sum[:len(Digest{})])
}

// keysetFile is the stored form, each half a Tink JSON keyset.
type keysetFile struct {
	Wrap  json.RawMessage `json:"wrap"`
	Index json.RawMessage `json:"index"`
}

// ErrKeyset is a key set that cannot be used. No error about a key set repeats any of it.
var ErrKeyset = errors.New("key set: not one that `ekc keys init` makes")

// NewKeyset makes a key set with one key of each sort.
func NewKeyset() (*Keyset, error) {
	wrapping, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make wrapping key: %w", err)
	}
	index, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make index key: %w", err)
	}
	return newKeyset(wrapping, index)
}

func newKeyset(wrapping, index *keyset.Handle) (*Keyset, error) {
	wrap, err := aead.New(wrapping)
	if err != nil {
		return nil, fmt.Errorf("wrapping keys: %w", ErrKeyset)
	}
	k := &Keyset{wrapping: wrapping, index: index, wrap: wrap}
	for i := range index.Len() {
		entry, err := index.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("index keys: %w", ErrKeyset)
		}
		if entry.KeyStatus() != keyset.Enabled {
			continue
		}
		key, ok := entry.Key().(*hmacprf.Key)
		if !ok || key.Parameters().(*hmacprf.Parameters).HashType() != hmacprf.SHA256 {
			return nil, fmt.Errorf("index keys: %w", ErrKeyset)
		}
		d := newDigester(key.KeyBytes().Data(insecuresecretdataaccess.Token{}))
		if entry.IsPrimary() {
			k.digesters = slices.Insert(k.digesters, 0, d)
		} else {
			k.digesters = append(k.digesters, d)
		}
	}
	return k, nil
}

// LoadKeyset reads what Export wrote: from the setting itself when it is the JSON text, else from the file it names.
func LoadKeyset(setting string) (*Keyset, error) {
	data := []byte(strings.TrimSpace(setting))
	if !bytes.HasPrefix(data, []byte("{")) {
		var err error
		if data, err = os.ReadFile(setting); err != nil {
			var path *fs.PathError
			if errors.As(err, &path) { // without the path: it may be a key set that lost its first character
				err = path.Err
			}
			return nil, fmt.Errorf("read key set: %w", err)
		}
	}
	var file keysetFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, ErrKeyset
	}
	var handles [2]*keyset.Handle
	for i, half := range []json.RawMessage{file.Wrap, file.Index} {
		h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(half)))
		if err != nil {
			return nil, ErrKeyset
		}
		handles[i] = h
	}
	return newKeyset(handles[0], handles[1])
}

// Export is the key set in clear, for the file or variable it is loaded from.
func (k *Keyset) Export() ([]byte, error) {
	var halves [2]bytes.Buffer
	for i, h := range []*keyset.Handle{k.wrapping, k.index} {
		if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&halves[i])); err != nil {
			return nil, fmt.Errorf("export key set: %w", err)
		}
	}
	return json.MarshalIndent(keysetFile{Wrap: halves[0].Bytes(), Index: halves[1].Bytes()}, "", "  ")
}

// Rotate gives a key set in which new keys are current and the present ones still open and find what they made.
func (k *Keyset) Rotate() (*Keyset, error) {
	wrapping, err := withNewKey(k.wrapping, aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	index, err := withNewKey(k.index, prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return nil, err
	}
	return newKeyset(wrapping, index)
}

func withNewKey(h *keyset.Handle, template *tinkpb.KeyTemplate) (*keyset.Handle, error) {
	manager := keyset.NewManagerFromHandle(h)
	id, err := manager.Add(template)
	if err != nil {
		return nil, fmt.Errorf("add key: %w", err)
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("make key current: %w", err)
	}
	return manager.Handle()
}

const dataKeySize = 32

// NewDataKey implements Provider.
func (k *Keyset) NewDataKey(scope string) (cipher.AEAD, []byte, error) {
	key := random.GetRandomBytes(dataKeySize)
	defer clear(key)
	wrapped, err := k.wrap.Encrypt(key, wrapAAD(scope))
	if err != nil {
		return nil, nil, fmt.Errorf("wrap data key: %w", err)
	}
	gcm, err := newGCM(key)
	return gcm, wrapped, err
}

// OpenDataKey implements Provider.
func (k *Keyset) OpenDataKey(wrapped []byte, scope string) (cipher.AEAD, error) {
	key, err := k.wrap.Decrypt(wrapped, wrapAAD(scope))
	if err != nil || len(key) != dataKeySize {
		return nil, fmt.Errorf("unwrap data key: %w", ErrSealed)
	}
	defer clear(key)
	return newGCM(key)
}

func wrapAAD(scope string) []byte { return []byte("ekc data key\x00" + scope) }

// Digest implements Provider.
func (k *Keyset) Digest(data []byte) (Digest, error) { return k.digesters[0].digest(data), nil }

// Digests implements Provider.
func (k *Keyset) Digests(data []byte) ([]Digest, error) {
	digests := make([]Digest, len(k.digesters))
	for i, d := range k.digesters {
		digests[i] = d.digest(data)
	}
	return digests, nil
}

// Format writes no key, whatever the verb.
func (k *Keyset) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// LogValue logs no key.
func (k *Keyset) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText encodes no key, for JSON too.
func (k *Keyset) MarshalText() ([]byte, error) { return []byte("***"), nil }
