package ingest

import (
	"fmt"
	"strings"
)

// RuleCode numbers what can be wrong with a row: 101 to 116 as the contract has them, ours from 117 on. Numbers are never given anew.
type RuleCode int16

// The rules a row is held against.
const (
	RulePhone         RuleCode = 101
	RuleForeign       RuleCode = 102
	RuleSNILSChecksum RuleCode = 103
	RuleParameter     RuleCode = 104
	RuleTextOrTpl     RuleCode = 105
	RuleTextLong      RuleCode = 106
	RuleExpired       RuleCode = 107
	RuleIDTwice       RuleCode = 108
	RuleDuplicate     RuleCode = 109
	RuleUnknownCode   RuleCode = 110
	RuleOptOut        RuleCode = 111
	RuleCharacters    RuleCode = 112
	RuleLandline      RuleCode = 115
	RuleSharedPhone   RuleCode = 116

	RuleNoPhone       RuleCode = 117
	RuleSeveralPhones RuleCode = 118
	RuleExtension     RuleCode = 119
	RuleRounded       RuleCode = 120
	RuleTollFree      RuleCode = 121
	RuleSecondPhone   RuleCode = 122
	RuleSNILS         RuleCode = 123
	RuleSNILSPadded   RuleCode = 124
	RuleDate          RuleCode = 125
	RuleChannel       RuleCode = 126
	RuleTerritory     RuleCode = 127
	RuleIDForm        RuleCode = 128
	RuleIDPersonal    RuleCode = 129
	RuleLanguage      RuleCode = 130
	RuleLong          RuleCode = 131
	RuleCellError     RuleCode = 132
	RulePlaceholder   RuleCode = 133
	RuleDatesOrder    RuleCode = 134
	RuleNoLink        RuleCode = 135
	RuleSkipped       RuleCode = 136
	RuleSensitive     RuleCode = 137
	RuleNeutral       RuleCode = 138
	RuleSuppressed    RuleCode = 139
	RuleLink          RuleCode = 140
	RuleDataRequest   RuleCode = 141
	RuleIllness       RuleCode = 142
	RuleSum           RuleCode = 143
	RuleNoContact     RuleCode = 145
	RuleDeceased      RuleCode = 146
)

// Message types of the load protocol (10.10.I).
const (
	TypeError   = 1 // the row was not taken
	TypeWarning = 2 // taken; somebody should look
)

// Rule is one line of the table of verdicts.
type Rule struct {
	Code     RuleCode
	Type     int    // TypeError or TypeWarning
	Sentence string // what is wrong and what to do, at most 500 characters
}

// ruleTable is the one table of verdicts.
var ruleTable = [...]Rule{
	{RulePhone, TypeError, "Номер телефона не читается. Нужны 10 цифр после +7 или 8, например +7 903 123-45-67. Исправьте номер."},
	{RuleForeign, TypeError, "Это номер другой страны (в том числе Казахстана: +7 6xx и +7 7xx). Укажите российский номер."},
	{RuleSNILSChecksum, TypeError, "Контрольное число СНИЛС не сходится. Проверьте номер или оставьте ячейку пустой."},
	{RuleParameter, TypeError, "Для шаблона не хватает значения, или оно не подходит. Заполните названный столбец."},
	{RuleTextOrTpl, TypeError, "Укажите в строке что-то одно: текст или код шаблона. Если в строке нет ни того, ни другого, выберите шаблон для всего списка."},
	{RuleTextLong, TypeError, "Текст слишком длинный для СМС. Сократите его: чем короче сообщение, тем вернее его прочтут."},
	{RuleExpired, TypeError, "Срок отправки уже прошёл. Исправьте дату в столбце «Отправить до» или удалите строку."},
	{RuleIDTwice, TypeError, "Такой внешний номер в списке уже есть. У каждой строки он должен быть свой."},
	{RuleDuplicate, TypeWarning, "Этому человеку о том же событии, мере и дате уже сообщали или сообщат другой строкой. Проверьте, нужен ли повтор."},
	{RuleUnknownCode, TypeError, "Такого кода нет в справочнике или он не действует. Исправьте код события, меры или шаблона."},
	{RuleOptOut, TypeWarning, "С этого номера пришёл отказ от сообщений: строка принята, но отправлена не будет. Известите человека письмом."},
	{RuleCharacters, TypeError, "Есть недопустимые знаки (управляющие или из повреждённого текста). Введите значение заново с клавиатуры."},
	{RuleLandline, TypeWarning, "Это городской номер: СМС на него не придёт. Укажите мобильный номер или канал «звонок»."},
	{RuleSharedPhone, TypeWarning, "Этот телефон указан и у другого человека из списка. Сообщения придут обоим, одно за другим. Проверьте номер."},

	{RuleNoPhone, TypeError, "Не указан телефон. Заполните номер или удалите строку."},
	{RuleSeveralPhones, TypeError, "В ячейке несколько номеров. Оставьте один, остальные перенесите в столбцы «Телефон 2» и «Телефон 3»."},
	{RuleExtension, TypeError, "Номер с добавочным не подходит. Укажите прямой мобильный номер."},
	{RuleRounded, TypeError, "Номер округлён таблицей (вид 7,9E+10), цифры потеряны. Задайте столбцу формат «Текстовый» и введите номер заново."},
	{RuleTollFree, TypeError, "На бесплатный номер 8-800 ничего отправить нельзя. Укажите мобильный номер."},
	{RuleSecondPhone, TypeWarning, "Дополнительный номер не читается и пропущен. Исправьте его, если он нужен."},
	{RuleSNILS, TypeError, "СНИЛС не читается: нужно 11 цифр. Исправьте номер или оставьте ячейку пустой."},
	{RuleSNILSPadded, TypeWarning, "У СНИЛС в начале добавлены потерянные таблицей нули. Задайте столбцу формат «Текстовый»."},
	{RuleDate, TypeError, "Дата не читается. Пишите день, месяц и год четырьмя цифрами: 31.12.2026. Если год сократила таблица, загрузите список как XLSX."},
	{RuleChannel, TypeError, "Канал не распознан. Пишите: СМС, звонок, «СМС, затем звонок» или «звонок, затем СМС»."},
	{RuleTerritory, TypeWarning, "Территория не распознана: часовой пояс определён по телефону. Укажите код ОКТМО (8 или 11 цифр)."},
	{RuleIDForm, TypeError, "Внешний номер длиннее 64 знаков или с недопустимыми знаками. Сократите его."},
	{RuleIDPersonal, TypeError, "Внешний номер похож на телефон или СНИЛС. Возьмите номер дела или строки: он виден во всех отчётах."},
	{RuleLanguage, TypeWarning, "Язык не распознан: сообщение уйдёт на русском. Пишите код из двух букв, например ru или tt."},
	{RuleLong, TypeError, "Строка слишком длинная: ячейка больше 32 КБ или вся строка больше 256 КБ. Удалите лишнее."},
	{RuleCellError, TypeError, "В ячейке ошибка таблицы (#Н/Д, #ССЫЛКА! и подобные). Исправьте формулу или впишите значение."},
	{RulePlaceholder, TypeError, "В тексте остались незаполненные места в фигурных скобках. Заполните их или используйте шаблон."},
	{RuleDatesOrder, TypeError, "Дата «Отправить после» позже даты «Отправить до». Исправьте одну из них."},
	{RuleSkipped, TypeWarning, "Эта строка уже принята раньше и пропущена: второй раз человека не известят, а правки в ней не действуют."},
	{RuleSensitive, TypeError, "Текст шаблона раскрывает личное (здоровье и подобное), а правовое основание списка этого не разрешает. Возьмите другой шаблон или укажите основание, которое это разрешает."},
	{RuleNeutral, TypeWarning, "Текст шаблона раскрывает личное (здоровье и подобное), а правовое основание списка этого не разрешает: уйдёт нейтральный текст. Посмотрите его в предпросмотре."},
	{RuleSuppressed, TypeWarning, "Этому человеку о том же событии, мере и дате уже сообщили или сообщат другой строкой: эта строка принята, но по правилу вашего ведомства отправлена не будет. Если повтор нужен, загрузите файл с подтверждением повтора."},
	{RuleLink, TypeError, "В тексте есть ссылка, адрес сайта или мессенджер, хотя бы и словами. Уберите: людям говорят не открывать ссылки из сообщений. Назовите бесплатный номер 8-800-100-00-01."},
	{RuleDataRequest, TypeError, "Текст просит сообщить данные (код, карту, СНИЛС, паспорт): так пишут мошенники. Уберите просьбу."},
	{RuleIllness, TypeError, "Текст говорит о здоровье (болезнь, инвалидность, беременность), а правовое основание списка этого не разрешает: сообщение увидит любой, у кого телефон. Уберите подробности или возьмите шаблон: вместо него уйдёт нейтральный текст."},
	{RuleSum, TypeWarning, "Текст называет сумму, а правовое основание списка не разрешает раскрывать личное: сообщение увидит любой, у кого телефон. Лучше уберите сумму."},
	{RuleDeceased, TypeWarning, "По сообщению ЕГИССО этот человек умер: строка принята, но отправлена не будет. Если это ошибка, сообщите в ЕГИССО."},
	{RuleNoContact, TypeError, "Телефон этого человека нам неизвестен: его нет в профиле, и ни одно ведомство его не присылало. Внесите телефон в профиль или пришлите строку с телефоном."},
	{RuleNoLink, TypeError, "Отправить по этому каналу сейчас нечем. Укажите другой канал или обратитесь к дежурному инженеру."},
}

// RuleOf finds a line of the table.
func RuleOf(code RuleCode) (Rule, bool) {
	for _, r := range ruleTable {
		if r.Code == code {
			return r, true
		}
	}
	return Rule{}, false
}

// Message is one fault or warning of a row. Field is our name of the column, or the parameter of a template; never a value.
type Message struct {
	Code  RuleCode
	Field string
}

// Report is the sentence with the column it is about, as the protocol has it: by the sender's own title where these columns have it.
func (m Message) Report(columns []Column) string {
	rule, ok := RuleOf(m.Code)
	switch {
	case !ok:
		return fmt.Sprintf("Правило %d.", m.Code)
	case m.Field == "":
		return rule.Sentence
	}
	title := titleNamed(m.Field)
	for _, c := range columns {
		if c.Name == m.Field && c.Title != "" {
			title = firstRunes(strings.Join(strings.Fields(c.Title), " "), 100)
		}
	}
	return "«" + title + "»: " + rule.Sentence
}
