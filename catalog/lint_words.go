package catalog

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Texts are judged by what a reader takes them for, not by their bytes.

// plain makes the forms that look alike one: full-width letters, dots of all kinds, characters that take no place.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Mn, r):
			return -1
		case strings.ContainsRune("。·‧∙⋅•・˙", r):
			return '.'
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ToLower(r)
	}, norm.NFKC.String(text))
}

const topLevel = `(ru|su|рф|ру|рус|москва|дети|com|ком|org|орг|net|info|инфо|biz|gov|edu|pro|site|online|store|shop|top|xyz|click|link|me|io|ly|ли|cc|gl|app|dev|ws|id)`

// linkForms are tried one after the other on a plain text.
var linkForms = []*regexp.Regexp{
	regexp.MustCompile(`[a-z][a-z0-9+-]*://|h..ps?:|www[. ]|xn--`),
	regexp.MustCompile(`[a-zа-я0-9-]+\.[a-zа-я]{2,}/`),                                                            // a host with a path
	regexp.MustCompile(`[a-zа-я0-9-]+ ?\.` + topLevel + `([^a-zа-я0-9-]|$)`),                                      // a host
	regexp.MustCompile(`[a-z][a-z0-9-]*\. (ru|su|com|org)([^a-zа-я0-9-]|$)`),                                      // with a space behind the dot
	regexp.MustCompile(`[a-z0-9-]*[a-z][a-z0-9-]*\.[a-z]{2,}`),                                                    // a host of any other domain
	regexp.MustCompile(`[a-zа-я0-9] ?[\[({<] ?(\.|точка|тчк|dot) ?[\])}>] ?[a-zа-я]`),                             // (.), [dot]
	regexp.MustCompile(`[a-zа-я0-9-]+[ -]?(точка|тчк|dot)[ -]?(р ?ф|эр ?эф|` + topLevel[1:] + `([^a-zа-я0-9]|$)`), // "госуслуги точка рф"
	regexp.MustCompile(`(^|[^0-9.])[0-9]{1,3}(\.[0-9]{1,3}){3}([^0-9.]|$)`),                                       // an address in figures
	regexp.MustCompile(`(^|[^a-zа-я0-9])@[a-z0-9_]{4,}`),
	regexp.MustCompile(`ссылк|qr-?код|куар-?код|телеграм|telegram|whats ?app|ватсап|вотсап|вацап|viber|вайбер|мессенджер`),
}

// mixedHost is a host in which letters of two alphabets stand for each other.
var mixedHost = regexp.MustCompile(`[a-zа-я0-9-]+\.[a-zа-я]{2,}`)

// hasLink says whether a text sends its reader to a site, also by an address that is spelled out or disguised.
func hasLink(text string) bool {
	text = plain(text)
	if slices.ContainsFunc(linkForms, func(r *regexp.Regexp) bool { return r.MatchString(text) }) {
		return true
	}
	for _, host := range mixedHost.FindAllString(text, -1) {
		if strings.ContainsFunc(host, isLatin) && strings.ContainsFunc(host, func(r rune) bool { return unicode.Is(unicode.Cyrillic, r) }) {
			return true
		}
	}
	return false
}

func isLatin(r rune) bool { return unicode.Is(unicode.Latin, r) }

// askVerbs and secrets are the beginnings of words. A text asks for data when both are in one sentence and the verb is not denied.
var (
	askVerbs = []string{"сообщит", "назовит", "назват", "пришлит", "прислат", "отправьт", "отправит", "продиктуйт", "продиктоват", "укажит", "указат",
		"введит", "ввест", "вышлит", "выслат", "напишит", "написат", "скажит", "сказат", "подтвердит", "предоставьт", "предоставит", "передайт", "передат"}
	secrets = []string{"код", "пин", "парол", "карт", "cvc", "cvv", "снилс", "паспорт", "реквизит", "логин", "счёт", "счет", "данн", "pin"}
	// A word that begins like one of secrets and is another.
	notSecrets = []string{"кодекс", "картин", "картотек", "картоф", "счетч", "счётч", "счетов"}
	callVerbs  = []string{"позвонит", "перезвонит", "звонит", "наберит"}
	sayVerbs   = []string{"назовит", "сообщит", "продиктуйт", "скажит"}
)

// asksForData says whether a text asks its reader for what only swindlers ask by SMS or by a robot's call: codes, cards, СНИЛС, papers.
// "Перезвоните и назовите" is such a request whatever is to be named.
func asksForData(text string) bool {
	text = strings.NewReplacer("ё", "е").Replace(plain(text))
	return slices.ContainsFunc(sentences(text), func(s string) bool {
		words := strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
		asks, secret, calls, says := false, false, false, false
		for i, w := range words {
			if !denied(words[:i]) {
				asks = asks || hasStem(w, askVerbs)
				says = says || hasStem(w, sayVerbs)
			}
			calls = calls || hasStem(w, callVerbs)
			secret = secret || hasStem(w, secrets) && !hasStem(w, notSecrets)
		}
		return asks && secret || calls && says
	})
}

// denied says that the word behind these is not to be done: "не сообщайте", "никогда никому не называйте".
func denied(before []string) bool {
	n := len(before)
	return n > 0 && before[n-1] == "не" || n > 1 && before[n-2] == "не" && before[n-1] == "надо"
}

func hasStem(word string, stems []string) bool {
	return slices.ContainsFunc(stems, func(s string) bool { return strings.HasPrefix(word, s) })
}

// phoneForm is a number of ten or eleven digits as people write it.
var phoneForm = regexp.MustCompile(`(?:\+ ?7|\b8)?[ (–-]*\d{3}[ )–-]*\d{3}[ –-]*\d{2}[ –-]*\d{2}`)

// hasPaidNumber finds a phone that is not one of the free 800.
func hasPaidNumber(text string) bool {
	for _, s := range phoneForm.FindAllString(plain(text), -1) {
		digits := strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, s)
		if !strings.HasPrefix(digits[len(digits)-10:], "800") {
			return true
		}
	}
	return false
}

var (
	illnessWords = []string{"инвалид", "беремен", "диагноз", "заболеван", "болезн", "онколог", "психи", "туберкул", "диабет", "экспертиз"}

	illness = regexp.MustCompile(strings.Join(illnessWords, "|") + `|(^|[^а-я])вич([^а-я]|$)|нарушени[а-я]+ (слуха|зрения)`)
	sum     = regexp.MustCompile(`\d ?(руб|₽|р\.|коп|тыс)|(рублей|рубля|рубль)([^а-я]|$)`)
)

func namesIllness(text string) bool { return illness.MatchString(plain(text)) }

func namesSum(text string) bool { return sum.MatchString(plain(text)) }

// invitation is an answer that is asked for: "ответьте 2", "Отказ: СТОП", "отправьте цифру в ответ".
var invitation = regexp.MustCompile(`(?i:ответьте|в ответ\s*([.,;!]|$)|ответн(ое|ым) (сообщени|смс|sms)|отправьте:? ?[0-9«"])|(^|[^А-ЯЁа-яё])(СТОП|СТАРТ|СТАТУС|STOP)([^А-ЯЁа-яё]|$)`)

func invitesReply(sentence string) bool { return invitation.MatchString(sentence) }
