package inbound_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ekc/inbound"
	"ekc/smpp"
	"ekc/smpp/smpptest"
)

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for i := range n {
			all = append(all, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return all
}

func TestPartsInEveryOrderAreOneMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	stop := w.run()
	const want = "Прошу перенести заседание на другой день"
	// The third part begins inside a character.
	whole := message("", want).Octets
	cut := [][]byte{whole[:20], whole[20:41], whole[41:]}
	from := 0
	number := func(sender string, i int) smpp.Incoming {
		p := part(sender, "", 0x1234, uint8(i+1), 3)
		p.Octets = cut[i]
		p.Text, p.Exact = smpp.DecodeText(p.Coding, p.Octets)
		return p
	}
	for _, order := range permutations(3) {
		for _, way := range []string{"one batch", "a batch each", "a restart between", "each doubled", "two links", "doubled after the end"} {
			from++
			t.Run(fmt.Sprint(way, " ", order), func(t *testing.T) {
				var parts []smpp.Incoming
				for i, n := range order {
					p := number(phone(from), n)
					if way == "two links" && i == 1 {
						p.Link = "smsc-2"
					}
					parts = append(parts, p)
					if way == "each doubled" {
						parts = append(parts, p)
					}
				}
				if way == "one batch" || way == "two links" {
					w.mustTake(parts...)
				} else {
					for _, p := range parts {
						if way == "a restart between" {
							stop()
							w.again(nil)
							stop = w.run()
						}
						w.mustTake(p)
					}
				}
				if way == "doubled after the end" {
					w.pass(time.Minute)
					w.mustTake(parts...)
				}
				got := w.messages()
				m := got[len(got)-1]
				if len(got) != from || m.Text != want || !m.Exact || !m.Complete || m.Parts != 3 || m.From.Addr != phone(from) || m.Link == "" {
					t.Fatalf("%d messages of %d; text right: %t, exact %t, complete %t, %d parts", len(got), from, m.Text == want, m.Exact, m.Complete, m.Parts)
				}
				if n := w.int(`SELECT count(*) FROM inbound_parts WHERE message IS NULL OR sealed IS NOT NULL`); n != 0 {
					t.Errorf("%d parts still wait", n)
				}
			})
		}
	}
	w.pass(11 * time.Minute)
	w.sweep()
	if n := w.int(`SELECT count(*) FROM inbound_parts`); n != 0 {
		t.Errorf("%d parts are kept for ever", n)
	}
}

func TestEveryWayToConcatenateComesOverTheWire(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	smsc := smpptest.NewServer(t)
	w.run()
	w.link(smsc, 2) // the parts of one message come by both binds
	var want []string
	for i, concat := range []smpptest.Concat{smpptest.UDH8, smpptest.UDH16, smpptest.SAR} {
		for k, text := range []string{strings.Repeat("Прошу объяснить 🙂 отказ. ", 12), strings.Repeat("Please explain [refusal]. ", 15)} {
			for j, shuffle := range []bool{false, true} {
				text := fmt.Sprint(i, k, j, text)
				want = append(want, text)
				smsc.Deliver(smpptest.Incoming{From: phone(len(want)), To: "2442", Text: text, Concat: concat, Shuffle: shuffle})
			}
		}
	}
	w.awaitSMSC(smsc, "all are acknowledged", answered)
	got := w.texts()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d messages of %d, or other texts", len(got), len(want))
	}
}

func TestPartThatNeverComesLeavesAnIncompleteMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.run()
	w.mustTake(part(phone(1), "раз ", 1, 1, 3), part(phone(2), "два ", 1, 2, 3), part(phone(3), "раз ", 1, 1, 3), part(phone(3), "три", 1, 3, 3),
		part(phone(4), "СТОП", 1, 1, 2))
	w.pass(14 * time.Minute)
	w.mustTake(part(phone(1), "три", 1, 3, 3)) // its time begins anew
	w.pass(90 * time.Second)
	w.sweep()
	got := map[string]inbound.Message{}
	for _, m := range w.messages() {
		if m.Complete {
			t.Error("a message with a hole is complete")
		}
		got[m.From.Addr] = m
	}
	if len(got) != 3 || got[phone(2)].Text != "…два …" || got[phone(3)].Text != "раз …три" || got[phone(3)].Parts != 2 || got[phone(4)].Text != "СТОП…" {
		t.Fatalf("%d messages, or other texts", len(got))
	}
	if n := len(w.optOuts(phone(4))); n != 0 || got[phone(4)].Kind != inbound.KindMessage {
		t.Error("half a message wrote an opt-out")
	}
	w.mustTake(part(phone(1), "два ", 1, 2, 3))
	if texts := w.texts(); texts[len(texts)-1] != "раз два три" {
		t.Error("a message that was not overdue is not joined")
	}
	// What comes after the time is a message of its own, and is not lost.
	w.mustTake(part(phone(4), " пожалуйста", 1, 2, 2))
	w.pass(16 * time.Minute)
	w.sweep()
	if texts := w.texts(); len(texts) != 5 || texts[4] != "… пожалуйста" {
		t.Errorf("%d messages", len(texts))
	}
}

func TestRunSweepsByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *inbound.Config) { c.Clock, c.IncompleteAfter = time.Now, 200*time.Millisecond })
	smsc := smpptest.NewServer(t)
	w.run()
	w.link(smsc, 1)
	smsc.Deliver(smpptest.Incoming{From: phone(1), To: "2442", Text: strings.Repeat("Где моя справка? ", 12), Hold: 2})
	w.awaitSMSC(smsc, "the parts are acknowledged", answered)
	w.await("it is registered", func() bool {
		return w.int(`SELECT count(*) FROM inbound_messages WHERE NOT complete AND parts = 3`) == 1
	})
}

func TestReferenceUsedAgainLosesNeitherMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.run()
	a1, a2 := part(phone(1), "а-раз ", 7, 1, 2), part(phone(1), "а-два", 7, 2, 2)
	b1, b2 := part(phone(1), "б-раз ", 7, 1, 2), part(phone(1), "б-два", 7, 2, 2)
	w.mustTake(a1, a2, b1)
	w.mustTake(b2, a1) // a1 is only offered again
	if got := w.texts(); !slices.Equal(got, []string{"а-раз а-два", "б-раз б-два"}) {
		t.Errorf("%q", got)
	}
	// The second part of this one was lost, and the phone goes on with the same reference.
	c1, d1, d2 := part(phone(2), "в-раз ", 7, 1, 2), part(phone(2), "г-раз ", 7, 1, 2), part(phone(2), "г-два", 7, 2, 2)
	w.mustTake(c1)
	w.mustTake(d1)
	w.mustTake(d2, c1)
	if got := w.texts()[2:]; !slices.Equal(got, []string{"в-раз …", "г-раз г-два"}) {
		t.Errorf("%q", got)
	}
	// Long after, the same words in the same parts are a new message.
	w.pass(time.Hour)
	w.mustTake(a1, a2)
	a1.At, a2.At = w.now(), w.now()
	w.mustTake(a1)
	w.mustTake(a2)
	if got := w.texts()[4:]; !slices.Equal(got, []string{"а-раз а-два"}) {
		t.Errorf("%q", got)
	}
}

// Not parallel: it looks at the heap.
func TestHalfMessagesDoNotFillTheMemory(t *testing.T) {
	const rounds, each = 15, 1000
	w := newWorld(t, nil)
	w.run()
	text := strings.Repeat("Половина. ", 6)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	feed := func(round int) {
		batch := make([]smpp.Incoming, each)
		for i := range batch {
			batch[i] = part(phone(round*each+i), text, 5, 1, 2)
		}
		w.mustTake(batch...)
	}
	feed(0)
	before := heap()
	for round := 1; round < rounds; round++ {
		feed(round)
	}
	after := heap()
	// The octets of 14,000 halves alone are 1.5 MB.
	t.Logf("heap %d KB after %d half messages, %d KB after %d", before>>10, each, after>>10, rounds*each)
	if after > before+1<<20 {
		t.Errorf("grew by %d KB", (after-before)>>10)
	}
	if n := w.int(`SELECT count(*) FROM inbound_parts WHERE message IS NULL`); n != rounds*each {
		t.Errorf("%d parts wait", n)
	}
	w.pass(time.Hour)
	w.sweep()
	if n := w.int(`SELECT count(*) FROM inbound_messages WHERE NOT complete`); n != rounds*each {
		t.Errorf("%d incomplete messages", n)
	}
}

func TestTwoProcessesJoinWhatEachHasAPartOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	regs := []*inbound.Register{w.reg}
	w.run()
	w.again(nil)
	regs = append(regs, w.reg)
	w.run()
	const rounds, each = 20, 30
	for round := range rounds {
		answers := make(chan error, 4)
		for i, reg := range regs {
			var parts []smpp.Incoming
			for n := range each {
				parts = append(parts, part(phone(round*each+n), "СТОП"[4*i:4*i+4], 1, uint8(i+1), 2)) // two letters in each
			}
			same := message(phone(1_000_000+round), "СТОП") // offered on both at a takeover
			for k := range parts {
				parts[k].At = noon
			}
			same.At = noon
			go reg.Messages(parts, func(err error) { answers <- err })
			go reg.Messages([]smpp.Incoming{same}, func(err error) { answers <- err })
		}
		for range 4 {
			if err := <-answers; err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := w.int(`SELECT count(*) FROM inbound_messages WHERE complete AND kind = 'opt_out'`); n != rounds*(each+1) {
		t.Errorf("%d whole messages, want %d", n, rounds*(each+1))
	}
	if n := w.int(`SELECT count(*) FROM opt_outs`); n != rounds*(each+1) {
		t.Errorf("%d refusals, want %d", n, rounds*(each+1))
	}
	if n := w.int(`SELECT count(*) FROM inbound_parts WHERE message IS NULL`); n != 0 {
		t.Errorf("%d parts wait although their other half is there", n)
	}
}
