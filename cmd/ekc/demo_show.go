package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"ekc/fixtures"
	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/smpp/smpptest"
)

// played is one list of the demo: what it was to come to, and what it came to.
type played struct {
	sample fixtures.Sample
	list   openapi.List
	ids    map[int]string // notifications by row
	wrong  []string
}

// show is the demo as people see it.
func (d *demo) show(ctx context.Context) error {
	began := time.Now()
	manifest, err := fixtures.Read()
	if err != nil {
		return err
	}
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	d.say("Центры СМС: %s. Шлюз отвечает: %s", strings.Join(demoLinks, ", "), d.url)
	p, err := d.engage(ctx, manifest)
	if err != nil {
		return err
	}
	d.say("Учётные записи: по два сотрудника на ведомство, один загружает, другой утверждает.\n")
	if d.empty {
		d.farewell(p)
		<-ctx.Done()
		return nil
	}
	var all []*played
	calm, breaking := split(manifest.Samples)
	for _, samples := range [][]fixtures.Sample{calm, breaking} { // lists that make a link drop go alone: they would mark others as uncertain
		some, err := d.play(ctx, p, samples)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	windowed, err := d.showWindow(ctx, p, agenciesOf(manifest)[0])
	if err != nil {
		return err
	}
	all = append(all, windowed)
	fed, err := d.playFeed(ctx, p)
	if err != nil {
		return err
	}
	all = append(all, fed...)
	if err := d.table(all); err != nil {
		return err
	}
	if err := d.story(ctx, p, all); err != nil {
		return err
	}
	wrong := d.judge(all)
	d.say("\nВсё вместе: %.0f с.", time.Since(began).Seconds())
	if d.once {
		if wrong > 0 {
			return &exitError{exitFound, fmt.Errorf("%d expectations of the samples were not met", wrong)}
		}
		return nil
	}
	d.farewell(p)
	<-ctx.Done()
	return nil
}

func split(samples []fixtures.Sample) (calm, breaking []fixtures.Sample) {
	for _, s := range samples {
		if s.BreaksLinks {
			breaking = append(breaking, s)
		} else {
			calm = append(calm, s)
		}
	}
	return calm, breaking
}

func (d *demo) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var state struct{ Status string }
		if err := d.client("").call(ctx, http.MethodGet, "/readyz", nil, &state); err == nil && state.Status == "ready" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// play brings the samples, lets those go that are to go, and waits for their ends.
func (d *demo) play(ctx context.Context, p *people, samples []fixtures.Sample) ([]*played, error) {
	var all []*played
	for _, sample := range samples {
		content, err := sample.Bytes()
		if err != nil {
			return nil, err
		}
		one, err := d.bring(ctx, p, sample, bytes.NewReader(content), nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sample.File, err)
		}
		all = append(all, one)
	}
	for _, one := range all {
		if !one.sample.Approve || one.list.State == string(ingest.Rejected) {
			continue
		}
		bar := newBar(d.out)
		d.say("«%s» утверждён, отправляется:", one.sample.Name)
		var err error
		one.list, err = p.loader[one.sample.Agency].awaitList(ctx, one.list.ID, ended, bar.show)
		bar.end()
		if err != nil {
			return nil, err
		}
		if err := d.compareEnds(ctx, p, one); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// bring is what an operator does: upload, look at the load protocol; a colleague approves.
func (d *demo) bring(ctx context.Context, p *people, sample fixtures.Sample, file io.Reader, more map[string]string) (*played, error) {
	loader := p.loader[sample.Agency]
	fields := map[string]string{"name": sample.Name, "life_event": sample.LifeEvent, "template": sample.Template, "ordered_by": "письмо 12-04 (демо)",
		"legal_basis.code": "demo", "legal_basis.document": "Положение о ЕКЦ (демо)", "legal_basis.date": "2026-01-15"}
	if sample.Basis != "" {
		fields["legal_basis.code"] = sample.Basis
	}
	for name, value := range more {
		fields[name] = value
	}
	ref, err := loader.submit(ctx, sample.File, file, fields)
	if err != nil {
		return nil, err
	}
	checked := func(l openapi.List) bool {
		return l.State != string(ingest.Receiving) && l.State != string(ingest.Checking)
	}
	one := &played{sample: sample}
	if one.list, err = loader.awaitList(ctx, ref.ID, checked, func(openapi.List) {}); err != nil {
		return nil, err
	}
	if err := d.compareProtocol(ctx, loader, one); err != nil {
		return nil, err
	}
	d.say("«%s» (%s): строк %d, принято %d, отклонено %d, предупреждений %d; %s", sample.Name, sample.File, one.list.Rows, one.list.Accepted,
		one.list.Rejected, one.list.Warnings, stateTitles[ingest.State(one.list.State)])
	if one.list.StateReason != "" {
		d.say("    %s", one.list.StateReason)
	}
	if !sample.Approve || one.list.State != string(ingest.Ready) {
		return one, nil
	}
	approval := map[string]any{"expected": map[string]any{"accepted": one.list.Accepted, "digest": one.list.Digest}}
	if err := p.approver[sample.Agency].call(ctx, http.MethodPost, "/v1/lists/"+ref.ID+"/approve", approval, &one.list); err != nil {
		return nil, fmt.Errorf("approve: %w", err)
	}
	return one, nil
}

// compareProtocol holds the verdicts against the sample, and shows a few.
func (d *demo) compareProtocol(ctx context.Context, loader *apiClient, one *played) error {
	var protocol ingest.Protocol
	if err := loader.call(ctx, http.MethodGet, "/v1/lists/"+one.list.ID+"/protocol?limit=10000", nil, &protocol); err != nil {
		return err
	}
	if one.list.State != one.sample.State {
		one.miss("список %s, а должен быть %s", one.list.State, one.sample.State)
	}
	records := make(map[int]ingest.RecordResult)
	for i, r := range protocol.ErrorRecords {
		records[r.Row] = r
		if i < 3 {
			d.say("    строка %d: %s", r.Row, r.Messages[0].Report)
		}
	}
	for _, want := range one.sample.Rows {
		r, said := records[want.Row]
		delete(records, want.Row)
		var codes []int
		for _, m := range r.Messages {
			codes = append(codes, int(m.RuleCode))
		}
		slices.Sort(codes)
		expected := slices.Sorted(slices.Values(want.Codes))
		if taken := !said || r.RecordOK; taken != want.Taken || !slices.Equal(codes, expected) {
			one.miss("строка %d: принята %v, коды %v, а должно быть %v, %v", want.Row, taken, codes, want.Taken, expected)
		}
	}
	for row := range records {
		one.miss("строка %d: вердикт, которого не должно быть", row)
	}
	return nil
}

func (one *played) miss(format string, args ...any) {
	one.wrong = append(one.wrong, fmt.Sprintf(format, args...))
}

// compareEnds holds what became of every row against the sample.
func (d *demo) compareEnds(ctx context.Context, p *people, one *played) error {
	byRow := make(map[int]openapi.Notification)
	one.ids = make(map[int]string)
	after := ""
	for {
		var page openapi.Page[openapi.Notification]
		query := url.Values{"list_id": {one.list.ID}, "limit": {"100"}}
		if after != "" {
			query.Set("after", after)
		}
		if err := p.loader[one.sample.Agency].call(ctx, http.MethodGet, "/v1/notifications?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, n := range page.Items {
			byRow[int(n.Row)], one.ids[int(n.Row)] = n, n.NotificationID
		}
		if after = page.Next; after == "" {
			break
		}
	}
	for _, want := range one.sample.Rows {
		if !want.Taken {
			continue
		}
		n, there := byRow[want.Row]
		switch {
		case !there:
			one.miss("строка %d: уведомления нет", want.Row)
		case n.State != want.State || want.Reason != "" && n.Reason != want.Reason:
			one.miss("строка %d (%s): %s %s, а должно быть %s %s", want.Row, n.NotificationID, n.State, n.Reason, want.State, want.Reason)
		}
	}
	return nil
}

// windowList waits for a window that is closed now, and is cancelled.
const windowList = "Телефон;ФИО;Текст\n+7 900 123-45-01;Иванова Мария;СФР: для вас есть важная информация. Тел. 8-800-100-00-01\n" +
	"+7 900 123-45-02;Петров Пётр;СФР: для вас есть важная информация. Тел. 8-800-100-00-01\n"

func (d *demo) showWindow(ctx context.Context, p *people, agency string) (*played, error) {
	sample := fixtures.Sample{File: "okno.csv", Agency: agency, Name: "Ждёт окна", State: string(ingest.Ready), Approve: true,
		Rows: []fixtures.Row{{Row: 2, Taken: true, State: "cancelled"}, {Row: 3, Taken: true, State: "cancelled"}}}
	one, err := d.bring(ctx, p, sample, strings.NewReader(windowList), map[string]string{"priority": ingest.PriorityUrgent, "life_event": "OP-03"})
	if err != nil {
		return nil, err
	}
	loader := p.loader[agency]
	if one.list.State == string(ingest.Ready) || one.list.State == string(ingest.Rejected) {
		return one, nil // what is wrong with it is noted
	}
	running := func(l openapi.List) bool { return l.State != string(ingest.Approved) }
	if one.list, err = loader.awaitList(ctx, one.list.ID, running, func(openapi.List) {}); err != nil {
		return nil, err
	}
	wait := time.NewTimer(2 * time.Second)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-wait.C:
	}
	if err = loader.call(ctx, http.MethodGet, "/v1/lists/"+one.list.ID, nil, &one.list); err != nil {
		return nil, err
	}
	if told(one.list) > 0 || one.list.Counts["accepted"] > 0 {
		one.miss("сообщения ушли вне окна")
	}
	d.say("    утверждён, но не уходит: окно получателя закрыто. Отменяем.")
	if err = loader.call(ctx, http.MethodPost, "/v1/lists/"+one.list.ID+"/cancel", map[string]string{"reason": "показано в демо"}, nil); err != nil {
		return nil, err
	}
	if one.list, err = loader.awaitList(ctx, one.list.ID, ended, func(openapi.List) {}); err != nil {
		return nil, err
	}
	return one, d.compareEnds(ctx, p, one)
}

// table prints every list with its ends, and what the SMS centres say.
func (d *demo) table(all []*played) error {
	d.say("\nИтог по спискам (строк = отклонено + принято; принято = сумма исходов):\n")
	w := tabwriter.NewWriter(d.out, 2, 2, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "список\tстрок\tотклонено\tпринято\tдоставлено\tне доставлено\tотказ\tпрочее\tне отправлялось\t")
	for _, one := range all {
		l := one.list
		delivered, undelivered, refused := l.Counts["delivered"], l.Counts["undelivered"]+l.Counts["expired"], l.Counts["refused"]
		sum := int64(0)
		for _, n := range l.Counts {
			sum += n
		}
		notSent := l.Counts["cancelled"] + l.Counts["suppressed"] + l.Counts["out_of_time"]
		if !one.sample.Approve {
			notSent, sum = int64(l.Accepted), int64(l.Accepted)
		}
		other := sum - delivered - undelivered - refused - notSent
		if l.Rows != l.Rejected+l.Accepted || sum != int64(l.Accepted) {
			one.miss("числа не сходятся: строк %d, отклонено %d, принято %d, исходов %d", l.Rows, l.Rejected, l.Accepted, sum)
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", one.sample.Name, l.Rows, l.Rejected, l.Accepted, delivered, undelivered, refused, other, notSent)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	d.say("\nЧто записали сами центры СМС:\n")
	w = tabwriter.NewWriter(d.out, 2, 2, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "центр\tсообщений\tсегментов\tповторов\tотказано\tотчётов\tиз них принято шлюзом\tответов граждан\tиз них принято\tбольше всего в секунду\t")
	for i, s := range d.smscs {
		stats := s.Stats()
		refused := 0
		for _, n := range stats.Refused {
			refused += n
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", demoLinks[i], stats.Messages, stats.Accepted, stats.Doubles, refused, stats.Receipts,
			stats.ReceiptsAcked, stats.Incoming, stats.IncomingAcked, stats.MaxPerSecond)
	}
	return w.Flush()
}

// story tells one notification from upload to receipt, and proves the journal.
func (d *demo) story(ctx context.Context, p *people, all []*played) error {
	for _, one := range all {
		i := slices.IndexFunc(one.sample.Rows, func(r fixtures.Row) bool { return r.SMSC == int(smpptest.ThrottledOnce) })
		if i < 0 || one.list.State != string(ingest.Completed) {
			continue
		}
		d.say("\nИстория одного уведомления (ekc trace %s):\n", one.ids[one.sample.Rows[i].Row])
		t, err := (&backend{apiClient: p.loader[one.sample.Agency]}).trail(ctx, one.ids[one.sample.Rows[i].Row])
		if err != nil {
			return err
		}
		if err := t.print(d.out); err != nil {
			return err
		}
		break
	}
	report, err := journal.Verify(ctx, d.hub.db, journal.Checkpoint{})
	if err != nil {
		return err
	}
	if report.Fault != nil {
		return fmt.Errorf("the journal is damaged: %w", report.Fault)
	}
	d.say("\nЖурнал цел: %d записей, корень %x.", report.Size, report.Root)
	return nil
}

// judge prints what is not as the samples say, and counts it.
func (d *demo) judge(all []*played) (wrong int) {
	for _, one := range all {
		for _, sentence := range one.wrong {
			wrong++
			d.say("НЕ СОВПАЛО: «%s»: %s", one.sample.Name, sentence)
		}
	}
	if wrong == 0 {
		d.say("\nКаждая строка закончилась так, как написано в примерах.")
	}
	return wrong
}

// farewell says what can be tried now.
func (d *demo) farewell(p *people) {
	d.say("\nПоследние цифры номера +7 900 000 00 NN выбирают, что сделает центр СМС:\n")
	_ = smpptest.WriteTable(d.out, false)
	d.say("\nОтличия от работы: обычное окно отправки открыто круглые сутки (в справочнике 09:00–21:00 по времени получателя), окно срочных\n" +
		"закрыто нарочно, паузы и повторы сокращены до секунд новыми версиями правил справочника. Оценка срока (/estimate) считает по окну справочника.\n")
	d.say("Адреса:\n  описание API      %s/docs\n  здоровье          %s/healthz  %s/readyz\n  метрики           %s/metrics\n  журнал процесса   %s/ekc.log\n"+
		"  база              %s\n  Kafka             %s\n", d.url, d.url, d.url, d.url, d.dir, d.server.URL(), strings.Join(d.brokers.Addrs, ","))
	d.say("Ключи (Authorization: Bearer …):")
	for _, k := range p.keys {
		d.say("  %-18s %s  %s", k.login, k.secret, k.what)
	}
	loader := p.keys[0]
	d.say("\nПопробуйте:\n  export EKC_URL=%s\n  EKC_KEY=%s bin/ekc status\n  EKC_KEY=%s bin/ekc lists submit fixtures/lists/canaries.csv \\\n"+
		"    --again true --life-event OP-06 --ordered-by 'письмо 1' --legal-basis-code demo --legal-basis-document 'приказ' --legal-basis-date 2026-01-15",
		d.url, p.duty.key, loader.secret)
	d.say("\nДемо работает, пока его не остановят (Ctrl-C).")
}
