package main

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"ekc/fixtures"
)

// needle is one form of something of a canary.
type needle struct {
	octets []byte
	canary int
	what   string
	alone  bool // too short to be looked for inside a row of hexadecimal digits
}

// finder looks for all needles at once, by their first two octets.
type finder struct{ byPair [1 << 16][]*needle }

func newFinder(canaries []fixtures.Canary) *finder {
	f := new(finder)
	for i, c := range canaries {
		spellings := c.Spellings()
		// What is cut off is known by its beginning.
		spellings["name"] = append(spellings["name"], strings.ToLower(c.Patronymic), strings.ToUpper(c.Patronymic), string([]rune(c.Family)[:10]))
		spellings["data"] = append(spellings["data"], string([]rune(c.Data)[:8]))
		seen := map[string]bool{}
		put := func(what string, forms ...[]byte) {
			for _, octets := range forms {
				if seen[string(octets)] {
					continue
				}
				seen[string(octets)] = true
				pair := uint16(octets[0])<<8 | uint16(octets[1])
				alone := len(octets) < 10 && strings.Trim(string(octets), "0123456789") == ""
				f.byPair[pair] = append(f.byPair[pair], &needle{octets, i, what, alone})
			}
		}
		for what, all := range spellings {
			for _, s := range all {
				put(what, fixtures.Needles(s)...)
				put(what, forms(s)...)
			}
		}
		// A digest without a key is as good as the number: all of them can be tried.
		phone, snils := c.Phone[1:], strings.NewReplacer("-", "", " ", "").Replace(c.SNILS)
		for what, numbers := range map[string][]string{"phone": {phone, "+" + phone, "8" + phone[1:], phone[1:]}, "snils": {snils}} {
			for _, s := range numbers {
				sum256, sum1, sum5 := sha256.Sum256([]byte(s)), sha1.Sum([]byte(s)), md5.Sum([]byte(s))
				for _, sum := range [][]byte{sum256[:], sum1[:], sum5[:]} {
					put(what, coded(sum)...)
				}
				n, _ := strconv.ParseUint(strings.TrimPrefix(s, "+"), 10, 64)
				put(what, binary.BigEndian.AppendUint64([]byte{0, 0, 0, 8}, n)) // a bigint in COPY
			}
		}
	}
	return f
}

func (f *finder) search(hay []byte, found func(n *needle, at int)) {
	told := map[string]bool{}
	for at := 0; at+1 < len(hay); at++ {
		for _, n := range f.byPair[uint16(hay[at])<<8|uint16(hay[at+1])] {
			if !bytes.HasPrefix(hay[at:], n.octets) {
				continue
			}
			if n.alone && (at > 0 && isHex(hay[at-1]) || at+len(n.octets) < len(hay) && isHex(hay[at+len(n.octets)])) {
				continue
			}
			if key := fmt.Sprint(n.canary, n.what); !told[key] {
				told[key] = true
				found(n, at)
			}
		}
	}
}

func isHex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

// forms are those beyond fixtures.Needles: as addresses, XML and other alphabets have it, each again in the codes for octets.
func forms(s string) [][]byte {
	var le, be, windows []byte
	var upper, entities, xml strings.Builder
	for _, r := range s {
		for _, u := range utf16.Encode([]rune{r}) {
			le, be = append(le, byte(u), byte(u>>8)), append(be, byte(u>>8), byte(u))
		}
		switch {
		case r < 0x80:
			windows = append(windows, byte(r))
			upper.WriteRune(r)
			entities.WriteRune(r)
			xml.WriteRune(r)
			continue
		case r >= 'А' && r <= 'я':
			windows = append(windows, byte(r-'А')+0xC0)
		}
		fmt.Fprintf(&upper, `\u%04X`, r)
		fmt.Fprintf(&entities, "&#%d;", r)
		fmt.Fprintf(&xml, "&#x%x;", r)
	}
	out := [][]byte{[]byte(url.QueryEscape(s)), []byte(url.PathEscape(s)), []byte(upper.String()), []byte(entities.String()), []byte(xml.String())}
	for _, octets := range [][]byte{[]byte(s), le, be, windows} {
		out = append(out, coded(octets)...)
	}
	return out
}

// coded are octets as they are, and as programs print them.
func coded(octets []byte) [][]byte {
	out := [][]byte{octets, []byte(hex.EncodeToString(octets)), []byte(strings.ToUpper(hex.EncodeToString(octets)))}
	for offset := range 3 { // without the characters that depend on neighbours
		code := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), octets...))
		code = code[(offset*8+5)/6 : (offset+len(octets))*8/6]
		out = append(out, []byte(code), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(code)))
	}
	for _, style := range []struct{ each, between string }{{"%d", " "}, {"%d", ","}, {"%d", ", "}, {"0x%x", ", "}, {"%02x", " "}, {"%02X", " "}, {"%02x", ":"},
		{"%%%02X", ""}, {"%%%02x", ""}, {`\x%02x`, ""}, {`\%03o`, ""}, {`\\%03o`, ""}} {
		each := make([]string, len(octets))
		for i, c := range octets {
			each[i] = fmt.Sprintf(style.each, c)
		}
		out = append(out, []byte(strings.Join(each, style.between)))
	}
	return out
}

// TestTheSearchFindsEveryForm keeps the search honest.
func TestTheSearchFindsEveryForm(t *testing.T) {
	t.Parallel()
	manifest, err := fixtures.Read()
	if err != nil {
		t.Fatal(err)
	}
	f := newFinder(manifest.Canaries)
	c := manifest.Canaries[0]
	digest := sha256.Sum256([]byte(c.Phone))
	quoted, _ := json.Marshal(map[string][]byte{"x": []byte("за " + c.Family)})
	for name, hay := range map[string]string{
		"in clear": "x" + c.Family + "y", "in small letters": strings.ToLower(c.Family), "cut off": c.Data[:20], "phone with 8": "8" + c.Phone[2:],
		"phone as written": "8 (965) 743-12-09", "phone in an address": url.QueryEscape("(965) 743-12-09"), "name in an address": "/x?y=" + url.QueryEscape(c.Family),
		"SNILS alone": "00041738587", "birth date as PostgreSQL has it": "1948-02-29", "octets in JSON": string(quoted), "as %v": fmt.Sprintf("%v", []byte(c.Data)),
		"as %#v": fmt.Sprintf("%#v", []byte(c.Data)), "as %+q": fmt.Sprintf("%+q", c.Data), "as % x": fmt.Sprintf("% x", c.Data), "hexadecimal UTF-16": fmt.Sprintf("%x", utf16BE(c.Data)),
		"base64 of UTF-16": base64.StdEncoding.EncodeToString(append([]byte("abcd"), utf16BE(c.Data)...)), "digest": hex.EncodeToString(digest[:]),
		"UTF-16": string(utf16BE(c.Family)),
	} {
		found := 0
		f.search([]byte("{"+hay+"}"), func(*needle, int) { found++ })
		if found == 0 {
			t.Errorf("%s: not found", name)
		}
	}
	f.search([]byte("Канарейки +7 965 ***-**-09, 19480229 в f19480229a"), func(n *needle, at int) {
		if n.what != "birth_date" || at != 37 {
			t.Errorf("%s found at %d, where it is not", n.what, at)
		}
	})
}

func utf16BE(s string) (out []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u>>8), byte(u))
	}
	return out
}
