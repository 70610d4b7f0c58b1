package catalog

import (
	"strings"
	"unicode"
)

// TextFault is what a text that is no template of ours must not have; several may come together.
type TextFault uint8

// The faults, each as the lint has it of templates.
const (
	TextLink    TextFault = 1 << iota // it sends its reader to a site or a messenger
	TextAsks                          // it asks for codes, cards, papers
	TextIllness                       // it speaks of health
	TextSum                           // it names a sum
)

// TextJudge judges texts that come by the million. It looks at their words first, which are few, and remembers them; the forms of the lint
// are tried only where the words leave it open. It is for one goroutine.
type TextJudge struct{ words map[string]textHint }

// NewTextJudge returns one that knows no word.
func NewTextJudge() *TextJudge { return &TextJudge{words: make(map[string]textHint)} }

// textHint is what a word may be a part of.
type textHint uint8

const (
	hintLink textHint = 1 << iota
	hintAsks
	hintSecret
	hintCalls
	hintSays
	hintIllness
	hintSum
	hintAll textHint = 1<<iota - 1
)

// judgedWords is how many words are remembered: those of all templates there are, but not every name and number.
const judgedWords = 1 << 15

// Text says what is wrong with a text.
func (j *TextJudge) Text(text string) (f TextFault) {
	var hints textHint
	for rest := text; rest != ""; {
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		end := strings.IndexFunc(rest, unicode.IsSpace)
		if end < 0 {
			end = len(rest)
		}
		word := rest[:end]
		rest = rest[end:]
		h, known := j.words[word]
		if !known {
			h = hintOf(word)
			if len(j.words) < judgedWords {
				j.words[strings.Clone(word)] = h
			}
		}
		hints |= h
	}
	if hints&hintLink != 0 && hasLink(text) {
		f |= TextLink
	}
	if (hints&hintAsks != 0 && hints&hintSecret != 0 || hints&hintCalls != 0 && hints&hintSays != 0) && asksForData(text) {
		f |= TextAsks
	}
	if hints&hintIllness != 0 && namesIllness(text) {
		f |= TextIllness
	}
	if hints&hintSum != 0 && namesSum(text) {
		f |= TextSum
	}
	return f
}

// linkWords and sumWords are in every text that linkForms and sum find, unless it has a character of wordRunes' others.
var (
	linkWords = []string{"точка", "тчк", "ссылк", "куар", "телеграм", "ватсап", "вотсап", "вацап", "вайбер", "мессенджер"}
	sumWords  = []string{"руб", "р.", "коп", "тыс"}
)

// hintOf never says less than the forms find: what it does not know may be anything.
func hintOf(word string) (h textHint) {
	word = strings.ToLower(word)
	dots, before := 0, rune(0)
	for _, r := range word {
		switch {
		case r >= 'а' && r <= 'я' || r == 'ё' || r == '№':
			if before == '.' {
				h |= hintLink
			}
		case r == '.':
			if before == '(' {
				h |= hintLink
			}
		case r >= '0' && r <= '9':
			if before == '.' {
				if dots++; dots > 2 { // an address in figures
					h |= hintLink
				}
			}
		case strings.ContainsRune(`,;:!?%+-"'«»–—()`, r):
		default:
			return hintAll
		}
		before = r
	}
	if before == '(' || containsAny(word, linkWords) {
		h |= hintLink
	}
	if containsAny(word, sumWords) {
		h |= hintSum
	}
	if containsAny(word, illnessWords) || strings.Contains(word, "нарушени") || strings.Contains(word, "вич") && illness.MatchString(word) {
		h |= hintIllness
	}
	for _, w := range strings.FieldsFunc(strings.ReplaceAll(word, "ё", "е"), func(r rune) bool { return !unicode.IsLetter(r) }) {
		for _, of := range [...]struct {
			stems []string
			hint  textHint
		}{{askVerbs, hintAsks}, {secrets, hintSecret}, {callVerbs, hintCalls}, {sayVerbs, hintSays}} {
			if hasStem(w, of.stems) {
				h |= of.hint
			}
		}
	}
	return h
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}
