package smpptest

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Summary is the record as a table for the person who runs the simulator.
func (s *Server) Summary() string {
	st := s.Stats()
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(title string, value any, more ...string) {
		fmt.Fprintf(t, "%s\t%v\t%s\n", title, value, strings.Join(more, ", "))
	}
	row("Связи", st.LinksOpen, fmt.Sprintf("bind принято %d, отказано %d", st.Binds, st.BindsRefused))
	row("submit_sm получено", st.Submitted)
	rate := ""
	if d := st.Last.Sub(st.First).Seconds(); d > 0 {
		rate = fmt.Sprintf("%.0f в секунду", float64(st.Accepted)/d)
	}
	row("  принято сегментов", st.Accepted, rate)
	for _, status := range slices.SortedFunc(maps.Keys(st.Refused), cmp.Compare) {
		row("  отказ "+status.String(), st.Refused[status])
	}
	if st.Nacked > 0 {
		row("  generic_nack", st.Nacked)
	}
	row("Сообщений целиком", st.Messages, fmt.Sprintf("номеров %d", st.Destinations), fmt.Sprintf("неполных %d", st.Incomplete))
	row("  повторов", st.Doubles, fmt.Sprintf("сегментов %d", st.DoubleSegments))
	row("  сегментов не подряд", st.NotAdjacent)
	row("Квитанций", st.Receipts, fmt.Sprintf("передано %d", st.ReceiptsOffered), fmt.Sprintf("подтверждено %d", st.ReceiptsAcked),
		fmt.Sprintf("отложено получателем %d", st.ReceiptsRefused), fmt.Sprintf("отвергнуто %d", st.ReceiptsRejected))
	row("Входящих сегментов", st.Incoming, fmt.Sprintf("подтверждено %d", st.IncomingAcked))
	row("Ещё не подтверждено", st.Waiting())
	row("Наибольшее за секунду", st.MaxPerSecond, fmt.Sprintf("за 100 мс %d", st.MaxPer100ms), fmt.Sprintf("без ответа сразу %d", st.MaxOutstanding))
	row("Непонятных PDU", st.Malformed)
	_ = t.Flush()
	return b.String()
}

// WriteHistory prints the last accepted segments with their receipts, for people: time, link, number, place in the message, message_id,
// what the receipts said and whether the client has acknowledged them, text. Without Config.Keep there are none.
func (s *Server) WriteHistory(w io.Writer, last int) error {
	states := map[string]string{}
	for _, r := range s.Receipts() {
		mark := ""
		switch {
		case r.Offers == 0:
			mark = " (ждёт)"
		case !r.Done:
			mark = " (не подтверждена)"
		}
		states[r.MessageID] = strings.TrimPrefix(states[r.MessageID]+", "+r.State.String()+mark, ", ")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "Время\tСвязь\tКому\tОт кого\tСегмент\tmessage_id\tКвитанции\tТекст")
	all := s.Submitted()
	for _, k := range all[max(0, len(all)-last):] {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d/%d\t%s\t%s\t%q\n", k.At.Format("15:04:05.000"), k.Link, k.To, k.From.Addr,
			k.Segment, k.Segments, k.MessageID, cmp.Or(states[k.MessageID], "нет"), k.Text)
	}
	return t.Flush()
}
