package citizen

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Provider is the cryptography behind sealing, so that a certified one can stand where Keyset does. Its methods are called
// concurrently, and seldom: a data key is made once and opened once per process. Digests are the exception.
type Provider interface {
	// NewDataKey makes a key and gives it wrapped too, so that it opens only under the same scope. The cipher takes no nonce
	// (NonceSize is 0) and puts what it needs into its output.
	NewDataKey(scope string) (key cipher.AEAD, wrapped []byte, err error)
	// OpenDataKey unwraps what NewDataKey gave, under any key not yet retired.
	OpenDataKey(wrapped []byte, scope string) (cipher.AEAD, error)
	// Digest is the keyed digest of data under the current index key.
	Digest(data []byte) (Digest, error)
	// Digests are the keyed digests of data under every index key not yet retired, the current one's first.
	Digests(data []byte) ([]Digest, error)
}

// ErrSealed says that a blob did not open: another key, another row, or changed bytes.
var ErrSealed = errors.New("sealed data does not open")

// DataKey seals what belongs to one scope, say a list. It is safe for concurrent use and prints nothing of itself but its number.
type DataKey struct {
	ID   int64 // in data_keys
	aead cipher.AEAD
}

// Seal appends the sealed plaintext to dst, SealOverhead bytes longer than it came. Only the same aad opens it again; aad names the
// row (RowAAD), so that blobs cannot change places.
func (k *DataKey) Seal(dst, plaintext, aad []byte) []byte {
	return k.aead.Seal(dst, nil, plaintext, aad)
}

// Open appends the plaintext to dst. Any failure is ErrSealed.
func (k *DataKey) Open(dst, sealed, aad []byte) ([]byte, error) {
	plaintext, err := k.aead.Open(dst, nil, sealed, aad)
	if err != nil {
		return nil, fmt.Errorf("data key %d: %w", k.ID, ErrSealed)
	}
	return plaintext, nil
}

// Format writes the key's number whatever the verb.
func (k *DataKey) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "data key %d", k.ID) }

// RowAAD is the associated data that binds a blob to one row of one table.
func RowAAD(table string, id int64) []byte {
	return binary.BigEndian.AppendUint64(append(append(make([]byte, 0, len(table)+9), table...), 0), uint64(id))
}

// newGCM is AES-256-GCM with a random nonce before the ciphertext and the tag behind it: what Tink writes without a key prefix.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("data key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Digest is a keyed digest: the same for the same person under the same index key, nothing to anybody without the key. It is
// personal data all the same and stays out of the journal and logs.
type Digest [16]byte

// Format writes no digest, whatever the verb.
func (d Digest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// LogValue logs no digest.
func (d Digest) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText encodes no digest, for JSON too.
func (d Digest) MarshalText() ([]byte, error) { return []byte("***"), nil }

// DigestKind keeps digests of different things apart. Other packages have kinds of their own for what they digest.
type DigestKind string

const (
	DigestPhone     DigestKind = "phone"
	DigestSNILS     DigestKind = "snils"
	DigestNameBirth DigestKind = "name_birth"
	DigestPhoneName DigestKind = "phone_name" // only to tell persons apart, never to search
)

func digestInput(kind DigestKind, normalized string) []byte {
	return append(append(append(make([]byte, 0, len(kind)+len(normalized)+1), kind...), 0), normalized...)
}

// Salt makes commitments to equal texts differ. It lies sealed beside the text.
type Salt [16]byte

// NewSalt draws a salt.
func NewSalt() (s Salt) {
	_, _ = rand.Read(s[:]) // never fails: crypto/rand ends the process instead
	return s
}

// Commitment is what the journal keeps of a text: with text and salt anybody can check it, without them it tells nothing.
func Commitment(text []byte, salt Salt) [sha256.Size]byte {
	mac := hmac.New(sha256.New, salt[:])
	mac.Write(text)
	return [sha256.Size]byte(mac.Sum(nil))
}
