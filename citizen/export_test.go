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

// OKTMORegion is the subject a code of ОК 033 belongs to.
func OKTMORegion(oktmo string) Region {
	if s := oktmoSubject(oktmoDigits(oktmo)); s != nil {
		return s.code
	}
	return ""
}

// Title is what the table of subjects calls a region.
func (r Region) Title() string {
	if s := subjectByCode[string(r)]; s != nil {
		return s.title
	}
	return ""
}
