package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Contents are what a template says whatever the channel, one line each and sorted: its event, whether it discloses, its parameters,
// the figures of its words, names in «», and what its author declares. How to answer by SMS or by a digit belongs to the channel and
// is left out.
func (t *Template) Contents() []string {
	facts := []string{"event " + t.LifeEvent, fmt.Sprintf("sensitive %t", t.Sensitive)}
	for _, f := range t.Facts {
		facts = append(facts, "fact "+f)
	}
	for _, s := range t.text.slots {
		facts = append(facts, "parameter "+s.keys[0])
	}
	words := t.text.words()
	if figures, spoken := strings.Contains(words, CentreNumber), strings.Contains(words, centreNumberSpoken); figures || spoken {
		facts = append(facts, "phone "+CentreNumber)
		words = strings.NewReplacer(CentreNumber, "", centreNumberSpoken, "").Replace(words)
	}
	for _, sentence := range sentences(words) {
		if !ofTheChannel(sentence) {
			facts = append(facts, figuresOf(sentence)...)
			for _, m := range quotedName.FindAllStringSubmatch(sentence, -1) {
				facts = append(facts, "name "+Fold(m[1]))
			}
		}
	}
	slices.Sort(facts)
	return slices.Compact(facts)
}

// Digest is one number for Contents: two templates with the same one say the same.
func (t *Template) Digest() string {
	sum := sha256.Sum256([]byte(strings.Join(t.Contents(), "\n")))
	return hex.EncodeToString(sum[:])
}

// difference says in Russian what only one of two templates says.
func difference(one, other *Template) string {
	var parts []string
	for _, pair := range [][2]*Template{{one, other}, {other, one}} {
		there := pair[1].Contents()
		only := slices.DeleteFunc(pair[0].Contents(), func(f string) bool { return slices.Contains(there, f) })
		if len(only) > 0 {
			for i, f := range only {
				kind, what, _ := strings.Cut(f, " ")
				only[i] = factTitles[kind] + " " + what
			}
			parts = append(parts, "только в "+pair[0].Code+" – "+strings.Join(only, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

var factTitles = map[string]string{"event": "событие", "sensitive": "чувствительность", "fact": "сведение", "parameter": "параметр", "phone": "номер",
	"figure": "число", "name": "имя"}

// words are the literal text, each parameter a space.
func (t *Text) words() string {
	var b strings.Builder
	for i := range t.pieces {
		b.WriteString(t.pieces[i].literal)
		if t.pieces[i].slot >= 0 {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// ofTheChannel are sentences such as "Отказ: СТОП" and "нажмите один".
func ofTheChannel(sentence string) bool {
	return invitesReply(sentence) || strings.Contains(strings.ToLower(sentence), "нажмите")
}

var (
	quotedName  = regexp.MustCompile(`«([^«»]+)»`)
	sentenceEnd = regexp.MustCompile(`[.!?]+(\s+|$)|\n`)
	figure      = regexp.MustCompile(`\d+(?:[.,:]\d+)*`)
)

func sentences(text string) []string {
	return slices.DeleteFunc(sentenceEnd.Split(text, -1), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// figuresOf are the numbers of a sentence, written in figures or in words.
func figuresOf(sentence string) []string {
	var out []string
	for _, f := range figure.FindAllString(sentence, -1) {
		out = append(out, "figure "+strings.ReplaceAll(f, ",", "."))
	}
	sum, last := 0, 0
	end := func() {
		if last > 0 {
			out = append(out, fmt.Sprintf("figure %d", sum))
		}
		sum, last = 0, 0
	}
	for _, word := range strings.FieldsFunc(strings.ToLower(sentence), func(r rune) bool { return !unicode.IsLetter(r) }) {
		n, ok := numerals[word]
		if !ok {
			end()
			continue
		}
		if last > 0 && (n >= last || last < 20) { // шесть двенадцать are two numbers, двадцать пять is one
			end()
		}
		sum, last = sum+n, n
	}
	end()
	return out
}

// numerals are the words for 2 to 999 in the cases in which texts have them. Один is left out: it is an article as often as a number.
var numerals = func() map[string]int {
	m := map[string]int{"две": 2, "двух": 2, "трёх": 3, "трех": 3, "четырёх": 4, "четырех": 4, "восьми": 8, "сорока": 40, "девяноста": 90, "ста": 100,
		"двухсот": 200, "трёхсот": 300, "трехсот": 300, "четырёхсот": 400, "четырехсот": 400}
	add := func(word string, n int) {
		if word == "" || n < 2 {
			return
		}
		m[word] = n
		if stem, ok := strings.CutSuffix(word, "ь"); ok { // пять, пяти
			m[stem+"и"] = n
		}
	}
	for n, word := range units {
		add(word, n)
	}
	for n, word := range tens {
		add(word, 10*n)
	}
	for n, word := range hundreds {
		add(word, 100*n)
	}
	for n := 5; n < 9; n++ { // пятидесяти, пятисот
		of := manyOf[n]
		m[of+"десяти"], m[of+"сот"] = 10*n, 100*n
	}
	m[manyOf[9]+"сот"] = 900
	return m
}()
