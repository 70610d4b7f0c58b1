package smpp

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Encoding is how a text goes on the air.
type Encoding uint8

const (
	// GSM7 is the GSM 7-bit default alphabet with its extension table (3GPP TS 23.038 §6.2.1), one septet an octet on the wire.
	GSM7 Encoding = iota
	// UCS2 is 16-bit units, big-endian; what lies outside the basic plane takes two.
	UCS2
)

func (e Encoding) String() string {
	if e == GSM7 {
		return "gsm7"
	}
	return "ucs2"
}

// What fits a segment: alone, and beside a user data header of six octets (3GPP TS 23.040 §9.2.3.24.1).
const (
	gsm7Single, gsm7Part = 160, 153
	ucs2Single, ucs2Part = 70, 67
	// MaxSegments is as many segments as an 8-bit count can say.
	MaxSegments = 255
	gsm7Escape  = 0x1B
)

// data_coding of what we write and of the commonest we read (SMPP 3.4 §5.2.19).
const (
	CodingDefault  byte = 0x00
	CodingIA5      byte = 0x01
	CodingLatin1   byte = 0x03
	CodingCyrillic byte = 0x06 // ISO 8859-5
	CodingUCS2     byte = 0x08
)

// gsm7Basic is the basic table by septet; 0x1B is the escape to the extension table.
var gsm7Basic = [128]rune{
	'@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å',
	'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', -1, 'Æ', 'æ', 'ß', 'É',
	' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/',
	'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?',
	'¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
	'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§',
	'¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
	'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
}

// gsm7Narrow is the septet of each rune below U+0100, with gsm7Extended set for those of the extension table; gsm7Absent is none.
var gsm7Narrow = func() (t [256]uint16) {
	for i := range t {
		t[i] = gsm7Absent
	}
	for septet, r := range gsm7Basic {
		if r >= 0 && r < 256 {
			t[r] = uint16(septet)
		}
	}
	for _, r := range "\f^{}\\[~]|" {
		t[r] = gsm7Extended | uint16(gsm7ExtensionOf(r))
	}
	return t
}()

const (
	gsm7Extended = 0x100
	gsm7Absent   = 0xFFFF
)

func gsm7ExtensionOf(r rune) byte {
	switch r {
	case '\f':
		return 0x0A
	case '^':
		return 0x14
	case '{':
		return 0x28
	case '}':
		return 0x29
	case '\\':
		return 0x2F
	case '[':
		return 0x3C
	case '~':
		return 0x3D
	case ']':
		return 0x3E
	case '|':
		return 0x40
	case '€':
		return 0x65
	}
	return 0
}

func gsm7ExtensionRune(septet byte) (rune, bool) {
	for _, r := range "\f^{}\\[~]|€" {
		if gsm7ExtensionOf(r) == septet {
			return r, true
		}
	}
	return 0, false
}

// gsm7Of is the septet of r, gsm7Extended|septet, or gsm7Absent.
func gsm7Of(r rune) uint16 {
	if r < 256 {
		return gsm7Narrow[r]
	}
	switch r {
	case '€':
		return gsm7Extended | 0x65
	case 'Δ':
		return 0x10
	case 'Φ':
		return 0x12
	case 'Γ':
		return 0x13
	case 'Λ':
		return 0x14
	case 'Ω':
		return 0x15
	case 'Π':
		return 0x16
	case 'Ψ':
		return 0x17
	case 'Σ':
		return 0x18
	case 'Θ':
		return 0x19
	case 'Ξ':
		return 0x1A
	}
	return gsm7Absent
}

// Segments says how text goes on the air, and in how many segments. An empty text is one segment. The count may exceed MaxSegments;
// such a text cannot be sent. It does not allocate.
func Segments(text string) (Encoding, int) {
	enc, units := measure(text)
	single, part := enc.limits()
	if units <= single {
		return enc, 1
	}
	n, used := 1, 0
	for _, r := range text {
		w := enc.width(r)
		if used+w > part {
			n, used = n+1, 0
		}
		used += w
	}
	return enc, n
}

// measure chooses the encoding and counts its units: septets, or 16-bit units.
func measure(text string) (Encoding, int) {
	septets := 0
	for _, r := range text {
		s := gsm7Of(r)
		if s == gsm7Absent {
			units := 0
			for _, r := range text {
				units += UCS2.width(r)
			}
			return UCS2, units
		}
		septets += 1 + int(s>>8)
	}
	return GSM7, septets
}

func (e Encoding) limits() (single, part int) {
	if e == GSM7 {
		return gsm7Single, gsm7Part
	}
	return ucs2Single, ucs2Part
}

// width is how many units r takes; a rune is never cut.
func (e Encoding) width(r rune) int {
	if e == GSM7 {
		return 1 + int(gsm7Of(r)>>8&1)
	}
	if r > 0xFFFF {
		return 2
	}
	return 1
}

// appendText appends text in the encoding that was chosen for it. Bytes that are not UTF-8 become U+FFFD.
func appendText(dst []byte, enc Encoding, text string) []byte {
	if enc == GSM7 {
		for _, r := range text {
			s := gsm7Of(r)
			if s >= gsm7Extended {
				dst = append(dst, gsm7Escape)
			}
			dst = append(dst, byte(s))
		}
		return dst
	}
	for _, r := range text {
		if r > 0xFFFF {
			hi, lo := utf16.EncodeRune(r)
			dst = binary.BigEndian.AppendUint16(dst, uint16(hi))
			r = lo
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(r))
	}
	return dst
}

// nextCut is where the segment that begins at octet from of an encoded text ends: never inside an escape or a surrogate pair.
func nextCut(enc Encoding, data []byte, from int) int {
	if enc == GSM7 {
		end := from + gsm7Part
		if end >= len(data) {
			return len(data)
		}
		if data[end-1] == gsm7Escape {
			end--
		}
		return end
	}
	end := from + 2*ucs2Part
	if end >= len(data) {
		return len(data)
	}
	if data[end-2]&0xFC == 0xD8 {
		end -= 2
	}
	return end
}

// DecodeText reads text by its data_coding; exact is false when something in it could not be read and stands as U+FFFD. The parts of
// a long message are to be put together before they are decoded: other senders cut inside characters.
func DecodeText(coding byte, octets []byte) (text string, exact bool) {
	switch alphabetOf(coding) {
	case CodingDefault:
		return decodeGSM7(octets)
	case CodingUCS2:
		return decodeUCS2(octets)
	case CodingIA5:
		return decodeRunes(octets, func(b byte) rune {
			if b < 0x80 {
				return rune(b)
			}
			return utf8.RuneError
		})
	case CodingLatin1:
		return decodeRunes(octets, func(b byte) rune { return rune(b) })
	case CodingCyrillic:
		return decodeRunes(octets, iso88595)
	}
	return "", len(octets) == 0
}

// binaryCoding stands for all codings that are not text.
const binaryCoding byte = 0x04

// alphabetOf folds data_coding to one alphabet; the groups above 0x0F are those of 3GPP TS 23.038 §4.
func alphabetOf(coding byte) byte {
	switch {
	case coding == CodingDefault || coding == CodingIA5 || coding == CodingLatin1 || coding == CodingCyrillic || coding == CodingUCS2:
		return coding
	case coding >= 0x10 && coding <= 0x1F: // general group with a message class
		switch coding & 0x0C {
		case 0x00:
			return CodingDefault
		case 0x08:
			return CodingUCS2
		}
	case coding >= 0xF0 && coding&0x04 == 0: // message class, default alphabet
		return CodingDefault
	}
	return binaryCoding
}

func decodeGSM7(octets []byte) (string, bool) {
	var b strings.Builder
	b.Grow(len(octets))
	exact := true
	for i := 0; i < len(octets); i++ {
		c := octets[i]
		switch {
		case c == gsm7Escape && i+1 < len(octets):
			i++
			r, ok := gsm7ExtensionRune(octets[i])
			if !ok { // TS 23.038 §6.2.1.1: an unknown extension shows as the basic character
				r = decodeSeptet(octets[i])
				exact = false
			}
			b.WriteRune(r)
		default:
			r := decodeSeptet(c)
			exact = exact && r != utf8.RuneError
			b.WriteRune(r)
		}
	}
	return b.String(), exact
}

func decodeSeptet(c byte) rune {
	if c >= 0x80 || gsm7Basic[c] < 0 {
		return utf8.RuneError
	}
	return gsm7Basic[c]
}

func decodeUCS2(octets []byte) (string, bool) {
	var b strings.Builder
	b.Grow(len(octets))
	exact := len(octets)%2 == 0
	for i := 0; i+1 < len(octets); i += 2 {
		r := rune(binary.BigEndian.Uint16(octets[i:]))
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if i+3 < len(octets) {
				low = rune(binary.BigEndian.Uint16(octets[i+2:]))
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				exact = false
			} else {
				i += 2
			}
		}
		b.WriteRune(r)
	}
	if len(octets)%2 != 0 {
		b.WriteRune(utf8.RuneError)
	}
	return b.String(), exact
}

func decodeRunes(octets []byte, of func(byte) rune) (string, bool) {
	var b strings.Builder
	b.Grow(len(octets))
	exact := true
	for _, c := range octets {
		r := of(c)
		exact = exact && r != utf8.RuneError
		b.WriteRune(r)
	}
	return b.String(), exact
}

func iso88595(b byte) rune {
	switch {
	case b <= 0xA0 || b == 0xAD:
		return rune(b)
	case b == 0xF0:
		return '№'
	case b == 0xFD:
		return '§'
	}
	return rune(b) - 0xA0 + 0x400
}
