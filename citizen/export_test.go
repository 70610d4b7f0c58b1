package citizen

import "testing"

// DataKeyOf makes a data key of given bytes.
func DataKeyOf(t testing.TB, key []byte) *DataKey {
	t.Helper()
	aead, err := newGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	return &DataKey{aead: aead}
}
