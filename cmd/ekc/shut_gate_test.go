package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/openapi"
)

func TestTheSentenceOfEveryGateSaysUntilWhenAndWhatToDo(t *testing.T) {
	t.Parallel()
	at, since := time.Date(2026, 3, 11, 6, 0, 0, 0, time.UTC), time.Date(2026, 3, 10, 18, 30, 0, 0, time.UTC)
	until, ago := bothTimes(at), bothTimes(since)
	if !strings.Contains(until, "06:00:00 UTC") {
		t.Fatalf("a time is said as %s, want UTC in it", until)
	}
	ahead := 12
	lots := dispatch.AheadMost
	detail := openapi.WaitingDetail{Since: &since}
	list := openapi.List{ID: "0197a3c2", Agency: testAgency, State: string(ingest.Ready), LegalBasis: &catalog.LegalBasis{}, OrderedBy: "письмо 1"}
	bare, checking := list, list
	bare.LegalBasis = nil
	checking.State = string(ingest.Checking)
	stop := &openapi.Stop{ID: 7, Scope: "agency", Target: testAgency, Reason: "неверная сумма"}
	cases := []struct {
		name string
		gate shutGate
		says []string
	}{
		{"sending", shutGate{Waiting: &openapi.Waiting{Gate: "sending", Detail: detail}}, []string{"в отправке с " + ago, "ekc status"}},
		{"receipt", shutGate{Waiting: &openapi.Waiting{Gate: "receipt", Until: &at, Detail: detail}}, []string{"отчёт", ago, until, "unconfirmed", "ничего не нужно"}},
		{"approval", shutGate{Waiting: &openapi.Waiting{Gate: "approval"}, list: list}, []string{"утверждение", testAgency, "второй сотрудник"}},
		{"approval that cannot be given", shutGate{Waiting: &openapi.Waiting{Gate: "approval"}, list: bare}, []string{"утвердить его нельзя", "основания"}},
		{"checking", shutGate{Waiting: &openapi.Waiting{Gate: "approval"}, list: checking}, []string{"проверка списка"}},
		{"paused", shutGate{Waiting: &openapi.Waiting{Gate: "paused"}, list: list}, []string{"пауза", "/v1/lists/0197a3c2/resume"}},
		{"cancelling", shutGate{Waiting: &openapi.Waiting{Gate: "cancelling"}}, []string{"отмена", "cancelled"}},
		{"start", shutGate{Waiting: &openapi.Waiting{Gate: "start", Until: &at}}, []string{"час начала списка", until}},
		{"stop", shutGate{Waiting: &openapi.Waiting{Gate: "stop", Stop: 7}, stop: stop}, []string{"остановка 7 (agency " + testAgency + "): неверная сумма", "ekc stop --lift 7"}},
		{"stop of a stranger", shutGate{Waiting: &openapi.Waiting{Gate: "stop", Stop: 7}}, []string{"остановка 7;", "ekc stop --lift 7"}},
		{"stop of a link", shutGate{Waiting: &openapi.Waiting{Gate: "stop", Stop: 7, Detail: openapi.WaitingDetail{Pool: "main", Link: "smsc-1"}}},
			[]string{"остановка 7", "другой связи в пуле main нет"}},
		{"held", shutGate{Waiting: &openapi.Waiting{Gate: "held", Detail: detail}, id: "12-34", why: "Связь прервалась"},
			[]string{"решение человека", ago, "Связь прервалась", "/v1/notifications/12-34/settle", "resend", "sent"}},
		{"uncertain", shutGate{Waiting: &openapi.Waiting{Gate: "uncertain", Until: &at, Detail: openapi.WaitingDetail{Since: &since, Then: "resend"}}, why: "Связь прервалась"},
			[]string{"поздний отчёт", ago, "Связь прервалась", until, "ещё раз с пометкой"}},
		{"uncertain, then a person", shutGate{Waiting: &openapi.Waiting{Gate: "uncertain", Until: &at, Detail: openapi.WaitingDetail{Since: &since, Then: "hold"}}, id: "12-34"},
			[]string{until, "решает человек", "/v1/notifications/12-34/settle"}},
		{"ending", shutGate{Waiting: &openapi.Waiting{Gate: "ending", Until: &at}, why: "Отказ от сообщений"}, []string{"отправлено не будет", "Отказ от сообщений", until}},
		{"ending by a receipt", shutGate{Waiting: &openapi.Waiting{Gate: "ending"}}, []string{"отчёт уже пришёл", "как только"}},
		{"window", shutGate{Waiting: &openapi.Waiting{Gate: "window", Until: &at, Detail: openapi.WaitingDetail{Zones: "Asia/Kamchatka+Europe/Kaliningrad"}}},
			[]string{"окно получателя", until, "18:00 Asia/Kamchatka", "08:00 Europe/Kaliningrad", "в Москве 09:00"}},
		{"window without an hour", shutGate{Waiting: &openapi.Waiting{Gate: "window", Detail: openapi.WaitingDetail{Zones: "Europe/Moscow"}}},
			[]string{"60 дней", "Europe/Moscow", "справочника"}},
		{"cap", shutGate{Waiting: &openapi.Waiting{Gate: "cap", Until: &at}}, []string{"суточный предел", until}},
		{"gap", shutGate{Waiting: &openapi.Waiting{Gate: "gap", Until: &at}}, []string{"промежуток", until}},
		{"retry", shutGate{Waiting: &openapi.Waiting{Gate: "retry", Until: &at}, attempt: 2, why: "Очередь центра СМС переполнена 0x00000014"},
			[]string{"попытка 2", "Очередь центра СМС переполнена 0x00000014", until}},
		{"not_before", shutGate{Waiting: &openapi.Waiting{Gate: "not_before", Until: &at}}, []string{"назначенное", until}},
		{"pool", shutGate{Waiting: &openapi.Waiting{Gate: "pool", Detail: openapi.WaitingDetail{Since: &since, Pool: "main"}}},
			[]string{"пул main", "ни один процесс", ago, "ekc serve", "#nothing-is-sent"}},
		{"link", shutGate{Waiting: &openapi.Waiting{Gate: "link", Until: &at, Detail: openapi.WaitingDetail{Since: &since, Pool: "main", Link: "smsc-1", Code: "0x0000000e"}}},
			[]string{"пуле main", "smsc-1 не работает, код 0x0000000e, с " + ago, until, "ekc smsc check smsc-1", "#binds-are-refused"}},
		{"queue", shutGate{Waiting: &openapi.Waiting{Gate: "queue", Detail: openapi.WaitingDetail{Ahead: &ahead}}}, []string{"впереди в своём списке 12 сообщ.", "ekc status"}},
		{"long queue", shutGate{Waiting: &openapi.Waiting{Gate: "queue", Detail: openapi.WaitingDetail{Ahead: &lots}}}, []string{"не меньше 10000 сообщ."}},
		{"head of the queue", shutGate{Waiting: &openapi.Waiting{Gate: "queue"}}, []string{"оно первое"}},
	}
	var said []dispatch.Gate
	for _, c := range cases {
		said = append(said, dispatch.Gate(c.gate.Gate))
		sentence := c.gate.sentence()
		for _, words := range c.says {
			if !strings.Contains(sentence, words) {
				t.Errorf("%s: «%s», want «%s» in it", c.name, sentence, words)
			}
		}
		if strings.Contains(sentence, "неизвестно") || strings.ContainsAny(sentence, "\n%") || strings.Contains(sentence, "()") {
			t.Errorf("%s: «%s»", c.name, sentence)
		}
	}
	for _, g := range dispatch.Gates() {
		if !slices.Contains(said, g) {
			t.Errorf("no sentence for %s", g)
		}
	}
}
