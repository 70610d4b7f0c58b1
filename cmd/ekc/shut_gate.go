package main

import (
	"fmt"
	"strings"
	"time"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/openapi"
)

// shutGate is the gate a notification waits at, with what a sentence about it needs besides.
type shutGate struct {
	*openapi.Waiting
	id      string
	list    openapi.List
	attempt int           // the last one
	stop    *openapi.Stop // nil: not the caller's to see
	why     string        // title of the reason, and the far side's code
}

// idle closes the sentence about a gate that opens by itself.
const idle = "; делать ничего не нужно"

// sentence says what holds a notification, until when, and what to do.
func (g *shutGate) sentence() string {
	d := g.Detail
	switch dispatch.Gate(g.Gate) {
	case dispatch.GateSending:
		return "ответ центра СМС, сообщение в отправке с " + when(d.Since) + "; если это длится дольше минуты – ekc status"
	case dispatch.GateReceipt:
		return fmt.Sprintf("отчёт о доставке, центр СМС принял сообщение %s; если отчёта не будет до %s, итог – unconfirmed%s", when(d.Since), when(g.Until), idle)
	case dispatch.GateApproval:
		return g.approval()
	case dispatch.GatePaused:
		return "пауза списка; снимает утверждающий: POST /v1/lists/" + g.list.ID + "/resume"
	case dispatch.GateCancelling:
		return "отмена списка, уведомление закончится как cancelled" + idle
	case dispatch.GateStart:
		return "час начала списка, " + when(g.Until) + ", – так его утвердили" + idle
	case dispatch.GateStop:
		return g.stopped()
	case dispatch.GateHeld:
		return fmt.Sprintf("решение человека: неясно, ушло ли сообщение %s%s; решите: POST /v1/notifications/%s/settle, resend – отправить ещё раз, sent – считать отправленным",
			when(d.Since), g.because(), g.id)
	case dispatch.GateUncertain:
		then := "затем сообщение уйдёт ещё раз с пометкой о возможном повторе" + idle
		if d.Then == string(dispatch.ThenHold) {
			then = "затем решает человек: POST /v1/notifications/" + g.id + "/settle"
		}
		return fmt.Sprintf("поздний отчёт: неясно, ушло ли сообщение %s%s; ждём до %s, %s", when(d.Since), g.because(), when(g.Until), then)
	case dispatch.GateEnding:
		return g.ending()
	case dispatch.GateWindow:
		return g.window()
	case dispatch.GateCap:
		return "суточный предел сообщений на этот номер, до " + when(g.Until) + idle
	case dispatch.GateGap:
		return "промежуток между сообщениями на этот номер, до " + when(g.Until) + idle
	case dispatch.GateRetry:
		return fmt.Sprintf("повтор: попытка %d не удалась%s, следующая – %s%s, если так отвечают не всем", g.attempt, g.because(), when(g.Until), idle)
	case dispatch.GateNotBefore:
		return "назначенное строке или списку время, " + when(g.Until) + idle
	case dispatch.GatePool:
		was := ""
		if d.Since != nil {
			was = ", последний раз вели " + when(d.Since)
		}
		return fmt.Sprintf("пул %s, его не ведёт ни один процесс%s; запустите ekc serve с ролью sms, что мешает отправке – скажет /readyz (docs/operation.md#nothing-is-sent)", d.Pool, was)
	case dispatch.GateLink:
		return g.link()
	case dispatch.GateQueue:
		return g.queue()
	}
	return g.Gate // of a newer API
}

func when(at *time.Time) string {
	if at == nil {
		return "неизвестно когда"
	}
	return bothTimes(*at)
}

func (g *shutGate) because() string {
	if g.why == "" {
		return ""
	}
	return " (" + g.why + ")"
}

func (g *shutGate) approval() string {
	switch ingest.State(g.list.State) {
	case ingest.Receiving, ingest.Checking:
		return "проверка списка, она ещё идёт; если дольше получаса – ekc status"
	case ingest.Approved, ingest.Running:
		return "начало отправки, список только что утверждён" + idle
	}
	if g.list.LegalBasis == nil || g.list.OrderedBy == "" {
		return "утверждение списка, а утвердить его нельзя: нет основания или распоряжения; их указывает ведомство " + g.list.Agency
	}
	return "утверждение списка; утверждает второй сотрудник ведомства " + g.list.Agency + ", не тот, кто загрузил"
}

func (g *shutGate) stopped() string {
	what := fmt.Sprintf("остановка %d", g.Stop)
	if g.stop != nil {
		what += fmt.Sprintf(" (%s): %s", strings.TrimSpace(g.stop.Scope+" "+g.stop.Target), g.stop.Reason)
	}
	if g.Detail.Link != "" {
		what += "; другой связи в пуле " + g.Detail.Pool + " нет"
	}
	return fmt.Sprintf("%s; причина ушла – ekc stop --lift %d", what, g.Stop)
}

func (g *shutGate) ending() string {
	soon := "как только до него дойдёт отправка"
	if g.Until != nil {
		soon = when(g.Until)
	}
	if g.why == "" {
		return "запись итога: отчёт уже пришёл, итог будет записан, " + soon + idle
	}
	return fmt.Sprintf("правило: этим каналом отправлено не будет%s, следующий канал или итог – %s; если так быть не должно, проверьте номер, срок и отказ человека", g.because(), soon)
}

func (g *shutGate) window() string {
	zones := citizen.Zones(g.Detail.Zones)
	if g.Until == nil {
		return fmt.Sprintf("окно получателя: в ближайшие 60 дней нет часа, разрешённого в %s; проверьте часы и праздники в правилах справочника и пояс строки", zones)
	}
	var there []string
	for _, l := range zones.Locations() {
		there = append(there, g.Until.In(l).Format("15:04")+" "+l.String())
	}
	moscow := g.Until.In(citizen.DefaultZones.Locations()[0]).Format("15:04")
	return fmt.Sprintf("окно получателя, откроется %s (у получателя %s, в Москве %s)%s", when(g.Until), strings.Join(there, ", "), moscow, idle)
}

func (g *shutGate) link() string {
	d := g.Detail
	why := "не работает"
	if d.Code != "" {
		why += ", код " + d.Code
	}
	if d.Since != nil {
		why += ", с " + when(d.Since)
	}
	if g.Until != nil {
		why += ", следующая попытка " + when(g.Until)
	}
	return fmt.Sprintf("связь: в пуле %s нет ни одной рабочей, %s %s; ekc smsc check %s (docs/operation.md#binds-are-refused)", d.Pool, d.Link, why, d.Link)
}

func (g *shutGate) queue() string {
	ahead := 0
	if g.Detail.Ahead != nil {
		ahead = *g.Detail.Ahead
	}
	if ahead == 0 {
		return "очередь, в своём списке оно первое; если не уходит – ekc status"
	}
	most := ""
	if ahead >= dispatch.AheadMost {
		most = "не меньше "
	}
	return fmt.Sprintf("очередь, впереди в своём списке %s%s; если не движется – ekc status", most, messages(int64(ahead)))
}
