package dispatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"ekc/citizen"
)

// Content is everything personal about a notification. It exists in the clear only in memory, between the seal and the wire.
type Content struct {
	Phones   []citizen.Phone // the first is told; the others are alternates for voice
	Text     string          // rendered
	Person   citizen.Person
	Language string
	Ext      string       // the sender's own fields, kept as they came
	Salt     citizen.Salt // for the commitment that the journal keeps in place of the text
}

const contentVersion = 1

// encode appends the stored form: version, salt, phones, then strings in fixed order, each led by its length.
func (c *Content) encode(b []byte) []byte {
	b = append(b, contentVersion)
	b = append(b, c.Salt[:]...)
	b = binary.AppendUvarint(b, uint64(len(c.Phones)))
	for _, p := range c.Phones {
		b = appendString(b, p.Digits())
	}
	p := &c.Person
	for _, s := range [...]string{c.Text, p.SNILS.Digits(), p.Family.Reveal(), p.First.Reveal(), p.Patronymic.Reveal(), c.Language, c.Ext} {
		b = appendString(b, s)
	}
	born := citizen.Date(p.BirthDate)
	return binary.AppendUvarint(b, uint64(born.Year*10000+int(born.Month)*100+born.Day))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errContent = errors.New("sealed content is not of a known form")

// decodeMessage reads what sending needs of the stored form, salt, phones and text, and returns the rest.
func (c *Content) decodeMessage(b []byte) (rest []byte, err error) {
	if len(b) < 1+len(c.Salt) || b[0] != contentVersion {
		return nil, errContent
	}
	copy(c.Salt[:], b[1:])
	b = b[1+len(c.Salt):]
	n, used := binary.Uvarint(b)
	if used <= 0 || n > 16 {
		return nil, errContent
	}
	b = b[used:]
	c.Phones = c.Phones[:0]
	for range n {
		var s string
		if s, b = takeString(b); b == nil {
			return nil, errContent
		}
		p, err := citizen.ParsePhone(s)
		if err != nil {
			return nil, fmt.Errorf("sealed phone: %w", err)
		}
		c.Phones = append(c.Phones, p)
	}
	if c.Text, b = takeString(b); b == nil {
		return nil, errContent
	}
	return b, nil
}

// decode reads the stored form.
func (c *Content) decode(b []byte) error {
	b, err := c.decodeMessage(b)
	if err != nil {
		return err
	}
	var snils, family, first, patronymic string
	for _, field := range [...]*string{&snils, &family, &first, &patronymic, &c.Language, &c.Ext} {
		if *field, b = takeString(b); b == nil {
			return errContent
		}
	}
	born, used := binary.Uvarint(b)
	if used <= 0 || born > 9999_12_31 {
		return errContent
	}
	c.Person = citizen.Person{Family: citizen.Name(family), First: citizen.Name(first), Patronymic: citizen.Name(patronymic)}
	if snils != "" {
		if c.Person.SNILS, _, err = citizen.ParseSNILS(snils); err != nil {
			return fmt.Errorf("sealed SNILS: %w", err)
		}
	}
	if born > 0 {
		c.Person.BirthDate = citizen.BirthDate{Year: int(born / 10000), Month: time.Month(born / 100 % 100), Day: int(born % 100)}
	}
	return nil
}

// takeString returns the next string and the rest; the rest is nil when the bytes are not of this form.
func takeString(b []byte) (string, []byte) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", nil
	}
	end := used + int(n)
	return string(b[used:end]), b[end:]
}
