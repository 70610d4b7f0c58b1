package ingest

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// sharedStrings is the table of strings of a workbook (18.4.9). The strings lie one after another in blocks, each behind its length, so
// that a million of them cost little more than their bytes.
type sharedStrings struct {
	blocks []string
	at     []uint32 // of each string: its block, and its place there
	block  strings.Builder
}

// stringCost is what a string of the table takes beside its bytes: its place, and its length.
const stringCost = 4 + 2

// stringBlock holds the longest string there may be, many times over.
const stringBlock = 1 << 20

// add takes a string no longer than a quarter of a block.
func (t *sharedStrings) add(s []byte) {
	if t.block.Len()+len(s)+binary.MaxVarintLen32 > stringBlock {
		t.close()
	}
	if t.block.Cap() == 0 {
		t.block.Grow(stringBlock)
	}
	t.at = append(t.at, uint32(len(t.blocks)*stringBlock+t.block.Len()))
	var length [binary.MaxVarintLen32]byte
	t.block.Write(length[:binary.PutUvarint(length[:], uint64(len(s)))])
	t.block.Write(s)
}

// close ends the block that is being filled; what was added can be read only then.
func (t *sharedStrings) close() {
	if t.block.Len() > 0 {
		t.blocks = append(t.blocks, t.block.String())
		t.block.Reset()
	}
}

func (t *sharedStrings) get(i int) string {
	block := t.blocks[t.at[i]/stringBlock][t.at[i]%stringBlock:]
	var n, shift int
	for k := range len(block) {
		c := int(block[k])
		n |= c & 0x7F << shift
		if c < 0x80 {
			return block[k+1 : k+1+n]
		}
		shift += 7
	}
	return ""
}

// sharedStrings reads the table; phonetic runs are left out. A string over the limit of a cell is cut to just over it, so that its cells
// are too long wherever they stand.
func (b *workbook) sharedStrings() (*sharedStrings, error) {
	t := &sharedStrings{}
	x, err := b.open(b.stringsPart)
	if err != nil || x == nil {
		return t, err
	}
	defer x.close()
	var total int64
	var s []byte
	err = x.elements(func() error {
		if !x.is("si") {
			return nil
		}
		if s, err = x.richText(s[:0], "si", b.limits.FieldBytes); err != nil {
			return err
		}
		if total += int64(len(s)) + stringCost; total > b.limits.StringBytes {
			return ErrZipBomb
		}
		t.add(s)
		return nil
	})
	t.close()
	return t, err
}

// richText joins the text of an element that holds t, or runs of t, up to its end (18.4.8, 18.4.4). What comes after most bytes and one
// more is left out.
func (x *xmlScanner) richText(dst []byte, end string, most int) ([]byte, error) {
	inText, phonetic := false, 0
	for {
		if err := x.next(); err != nil {
			return dst, err
		}
		switch x.kind {
		case xmlEOF:
			return dst, ErrDamaged
		case xmlStart:
			inText = x.is("t")
			if x.is("rPh") {
				phonetic++
			}
		case xmlText:
			if inText && phonetic == 0 && len(dst) <= most {
				var err error
				if dst, err = x.appendText(dst); err != nil {
					return dst, err
				}
				dst = dst[:min(len(dst), most+1)]
			}
		case xmlEnd:
			inText = false
			switch {
			case x.is("rPh"):
				phonetic--
			case x.is(end):
				return unescapeXML(dst), nil
			}
		}
	}
}

// unescapeXML turns _x000D_ and its like (22.9.2.19) into the characters they stand for.
func unescapeXML(b []byte) []byte {
	if !bytes.Contains(b, []byte("_x")) {
		return b
	}
	return escapedChar.ReplaceAllFunc(b, func(m []byte) []byte {
		n, err := strconv.ParseUint(string(m[2:6]), 16, 16)
		if err != nil {
			return m
		}
		return utf8.AppendRune(nil, rune(n))
	})
}

var escapedChar = regexp.MustCompile(`_x([0-9A-Fa-f]{4})_`)
