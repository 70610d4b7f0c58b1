package smpp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// peer is an SMSC whose every answer a test decides, on a pipe and under a simulated clock.
type peer struct {
	bind  Status                             // answer to binds
	serve func(h Header, body []byte) []byte // answers; nil is silence
	dials []time.Duration                    // when each connection came, since the start
	conns []net.Conn
	began time.Time
	mu    sync.Mutex
	seen  []Header // requests, binds left out
	fail  error    // of dialling
}

func (p *peer) dial(context.Context, string, *tls.Config) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, time.Since(p.began))
	if p.fail != nil {
		return nil, p.fail
	}
	ours, theirs := net.Pipe()
	p.conns = append(p.conns, theirs)
	go p.run(theirs)
	return ours, nil
}

func (p *peer) run(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		h, body, err := ReadPDU(r, nil)
		if err != nil {
			return
		}
		var answer []byte
		switch h.Command {
		case BindTransceiver, BindTransmitter, BindReceiver:
			answer = AppendBindResp(nil, h.Command.Response(), h.Sequence, p.bind, "SMSC")
		case Unbind:
			answer = AppendHeaderOnly(nil, UnbindResp, StatusOK, h.Sequence)
		default:
			p.mu.Lock()
			p.seen = append(p.seen, h)
			p.mu.Unlock()
			if p.serve != nil {
				answer = p.serve(h, body)
			}
		}
		if len(answer) > 0 {
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
}

func (p *peer) count(cmd CommandID) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.seen {
		if h.Command == cmd {
			n++
		}
	}
	return n
}

// simulate runs test in a bubble with a link to p, and ends the link after it.
func simulate(t *testing.T, p *peer, cfg Config, h Handlers, test func(l *Link)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		p.began = time.Now()
		cfg.Name, cfg.Addr, cfg.SystemID = "smsc", "smsc:2775", "ekc"
		l := NewLink(cfg, h, slog.New(slog.DiscardHandler), time.Now)
		l.dial = p.dial
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			_ = l.Run(ctx)
			close(ended)
		}()
		synctest.Wait()
		test(l)
		cancel()
		<-ended
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			c.Close()
		}
	})
}

func texts(n int) []Message {
	all := make([]Message, n)
	for i := range all {
		all[i] = Message{ID: uint64(i + 1), From: Address{5, 0, "EKC"}, To: Address{1, 1, "79030000000"}, Text: "проверка"}
	}
	return all
}

func gaps(dials []time.Duration) []time.Duration {
	var all []time.Duration
	for i := 1; i < len(dials); i++ {
		all = append(all, (dials[i] - dials[i-1]).Round(time.Millisecond))
	}
	return all
}

func TestRefusedBindBacksOffFromOneToFifteenMinutes(t *testing.T) {
	t.Parallel()
	for _, status := range []Status{StatusInvPaswd, StatusInvSysID} {
		t.Run(status.String(), func(t *testing.T) {
			t.Parallel()
			p := &peer{bind: status}
			alarms := 0
			h := Handlers{State: func(s BindState) {
				if s.Phase == Refused && s.Alarm && s.Status == status {
					alarms++
				}
			}}
			simulate(t, p, Config{Binds: 1}, h, func(*Link) {
				time.Sleep(time.Hour)
				synctest.Wait()
				m := time.Minute
				want := []time.Duration{m, 2 * m, 4 * m, 8 * m, 15 * m, 15 * m}
				got := gaps(p.dials)
				for i := range want {
					if i >= len(got) || got[i] != want[i] {
						t.Fatalf("tries after %v", got)
					}
				}
				if alarms != len(p.dials) {
					t.Fatalf("%d alarms, %d refusals", alarms, len(p.dials))
				}
			})
		})
	}
}

func TestBindsOfOneAccountShareTheBackOff(t *testing.T) {
	t.Parallel()
	p := &peer{bind: StatusInvPaswd}
	simulate(t, p, Config{Binds: 8}, Handlers{}, func(*Link) {
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if len(p.dials) != 1 {
			t.Fatalf("%d tries with a wrong password in the first minute", len(p.dials))
		}
	})
}

func TestAccountStillHeldIsTriedEveryFiveSecondsForTwoMinutes(t *testing.T) {
	t.Parallel()
	for _, status := range []Status{StatusAlyBnd, StatusBindFail} {
		t.Run(status.String(), func(t *testing.T) {
			t.Parallel()
			p := &peer{bind: status}
			simulate(t, p, Config{}, Handlers{}, func(*Link) {
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				got := gaps(p.dials)
				for i := range 24 {
					if got[i] != 5*time.Second {
						t.Fatalf("try %d after %v", i+1, got[i])
					}
				}
				if got[24] != time.Minute || got[25] != 2*time.Minute {
					t.Fatalf("then %v", got[24:])
				}
			})
		})
	}
}

func TestNetworkIsTriedFastThenEveryTenSeconds(t *testing.T) {
	t.Parallel()
	p := &peer{fail: errors.New("connection refused")}
	simulate(t, p, Config{}, Handlers{}, func(*Link) {
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		got := gaps(p.dials)
		limit := 200 * time.Millisecond
		for i, g := range got {
			if g < limit/2-time.Millisecond || g > limit+time.Millisecond {
				t.Fatalf("try %d after %v, limit %v", i+1, g, limit)
			}
			limit = min(2*limit, 10*time.Second)
		}
		if len(got) < 12 {
			t.Fatalf("%d tries in two minutes", len(got))
		}
	})
}

func TestEnquireLinkEveryThirtySeconds(t *testing.T) {
	t.Parallel()
	p := &peer{serve: func(h Header, _ []byte) []byte {
		return AppendHeaderOnly(nil, h.Command.Response(), StatusOK, h.Sequence)
	}}
	simulate(t, p, Config{}, Handlers{}, func(*Link) {
		time.Sleep(10*time.Minute + 15*time.Second)
		synctest.Wait()
		if n := p.count(EnquireLink); n < 18 || n > 20 || len(p.dials) != 1 {
			t.Fatalf("%d enquire_link, %d connections in ten minutes", n, len(p.dials))
		}
	})
}

func TestSilentPeerIsLeft(t *testing.T) {
	t.Parallel()
	p := &peer{}
	simulate(t, p, Config{}, Handlers{}, func(*Link) {
		time.Sleep(62 * time.Second)
		synctest.Wait()
		if len(p.dials) != 2 {
			t.Fatalf("%d connections", len(p.dials))
		}
	})
}

func TestWindowIsNeverExceeded(t *testing.T) {
	t.Parallel()
	p := &peer{}
	simulate(t, p, Config{Window: 7, ResponseTimeout: time.Hour, EnquireLink: time.Hour}, Handlers{}, func(l *Link) {
		l.Start(texts(20))
		synctest.Wait()
		if n := p.count(SubmitSM); n != 7 {
			t.Fatalf("%d unanswered", n)
		}
		for i := range 3 { // answers in another order than the submits
			seq := p.seen[5-2*i].Sequence
			if _, err := p.conns[0].Write(AppendSubmitSMResp(nil, seq, StatusOK, "id")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := p.count(SubmitSM); n != 8+i {
				t.Fatalf("%d written after %d answers", n, i+1)
			}
		}
	})
}

func TestThrottledIsTriedFiveTimesThenTemporary(t *testing.T) {
	t.Parallel()
	p := &peer{serve: func(h Header, _ []byte) []byte {
		if h.Command != SubmitSM {
			return AppendHeaderOnly(nil, h.Command.Response(), StatusOK, h.Sequence)
		}
		return AppendSubmitSMResp(nil, h.Sequence, StatusThrottled, "")
	}}
	var results []SegmentResult
	simulate(t, p, Config{Rate: 100}, Handlers{Results: func(r []SegmentResult) { results = append(results, r...) }}, func(l *Link) {
		began := time.Now()
		l.Start(texts(1))
		time.Sleep(1500 * time.Millisecond) // in the fourth pause, 1.6 s long since 1.4 s
		synctest.Wait()
		if room := l.Room(); room != 0 {
			t.Errorf("room %d while the link is silent for more than the next second", room)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := p.count(SubmitSM); n != 1+throttledMost {
			t.Fatalf("%d tries", n)
		}
		if len(results) != 1 || results[0].Verdict != Temporary || results[0].Reason != ReasonThrottled || results[0].Status != StatusThrottled {
			t.Fatalf("%+v", results)
		}
		if took := results[0].AnsweredAt.Sub(began); took < (2+4+8+16+32)*100*time.Millisecond || took > 7*time.Second {
			t.Fatalf("the pauses took %v", took)
		}
	})
}

func TestBeforeIsAskedAgainForAThrottledMessage(t *testing.T) {
	t.Parallel()
	p := &peer{serve: func(h Header, _ []byte) []byte {
		return AppendSubmitSMResp(nil, h.Sequence, StatusThrottled, "")
	}}
	var results []SegmentResult
	var stopped atomic.Bool
	h := Handlers{
		Before:  func(*Message) bool { return !stopped.Load() },
		Results: func(r []SegmentResult) { results = append(results, r...) },
	}
	simulate(t, p, Config{}, h, func(l *Link) {
		l.Start(texts(1))
		synctest.Wait()
		stopped.Store(true)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := p.count(SubmitSM); n != 1 || len(results) != 1 || results[0].Verdict != Withheld {
			t.Fatalf("%d tries, %+v", n, results)
		}
	})
}

func TestRunRestsASecondAfterTheLastWrite(t *testing.T) {
	t.Parallel()
	p := &peer{serve: func(h Header, _ []byte) []byte { return AppendSubmitSMResp(nil, h.Sequence, StatusOK, "id") }}
	var wrote time.Time
	synctest.Test(t, func(t *testing.T) {
		p.began = time.Now()
		l := NewLink(Config{Name: "smsc", Rate: 10}, Handlers{Results: func(r []SegmentResult) { wrote = r[0].At }}, slog.New(slog.DiscardHandler), time.Now)
		l.dial = p.dial
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { _ = l.Run(ctx); close(ended) }()
		synctest.Wait()
		l.Start(texts(1))
		synctest.Wait()
		cancel()
		<-ended
		if rest := time.Since(wrote); wrote.IsZero() || rest < time.Second {
			t.Fatalf("Run returned %v after the last write", rest)
		}
	})
}

func TestSequenceNumbersWrapAndPassOverBusyPlaces(t *testing.T) {
	t.Parallel()
	w := newWindow(8)
	m := &outgoing{}
	w.sequence = 0x7FFFFFFF - 3
	now := time.Now()
	first := w.open(m, 0, 0)
	w.stamp([]uint32{first}, now)
	seen := map[uint32]bool{first: true}
	for range 100 {
		seq := w.open(m, 0, 0)
		if seq == 0 || seq > 0x7FFFFFFF || seen[seq] {
			t.Fatalf("sequence %d", seq)
		}
		seen[seq] = true
		if _, ok := w.take(seq); ok {
			t.Fatal("answered before it was written")
		}
		w.stamp([]uint32{seq}, now)
		if _, ok := w.take(seq); !ok {
			t.Fatal("lost")
		}
		if _, ok := w.take(seq); ok {
			t.Fatal("answered twice")
		}
	}
	if sl, ok := w.take(first); !ok || sl.sequence != first || w.used != 0 {
		t.Fatalf("the slow one: %+v %t, %d used", sl, ok, w.used)
	}
}

func TestLateSubmitsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWindow(2)
	now := time.Now()
	var seqs []uint32
	for range 100 {
		seq := w.open(&outgoing{}, 0, 0)
		w.stamp([]uint32{seq}, now)
		w.expire(now.Add(1), func(slot) {})
		seqs = append(seqs, seq)
	}
	if len(w.late) > lateFactor*2 || len(w.lateOrder) > lateFactor*2 {
		t.Fatalf("%d remembered", len(w.late))
	}
	if _, ok := w.takeLate(seqs[99]); !ok {
		t.Fatal("the last was forgotten")
	}
}

func TestUnansweredDeliveriesHoldTheBindAndDoNotEndIt(t *testing.T) {
	t.Parallel()
	p := &peer{}
	var mu sync.Mutex
	var open []func(error)
	got := 0
	h := Handlers{Receipts: func(r []Receipt, done func(error)) {
		mu.Lock()
		defer mu.Unlock()
		got += len(r)
		open = append(open, done)
	}}
	const more = 50
	simulate(t, p, Config{}, h, func(*Link) {
		wire := AppendDeliverSM(nil, 0, &ShortMessage{ESMClass: 4, ShortMessage: []byte(benchReceipt)})
		go func() {
			for range unansweredMost + more {
				if _, err := p.conns[0].Write(wire); err != nil {
					return
				}
			}
		}()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if got != unansweredMost || len(p.dials) != 1 || p.count(DeliverSMResp) != 0 {
			t.Errorf("%d read, %d connections, %d answered", got, len(p.dials), p.count(DeliverSMResp))
		}
		first := open[0]
		mu.Unlock()
		first(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if n := p.count(DeliverSMResp); n == 0 || got != unansweredMost+more {
			t.Errorf("after one batch was answered: %d read, %d answered", got, n)
		}
	})
}

func TestAnswerToAnotherSequenceNumberOfTheSamePlaceIsNotTaken(t *testing.T) {
	t.Parallel()
	w := newWindow(8)
	seq := w.open(&outgoing{}, 0, 0)
	w.stamp([]uint32{seq}, time.Now())
	if _, ok := w.take(seq + uint32(len(w.slots))); ok {
		t.Fatal("a stray answer settled a submit that is still open")
	}
	if _, ok := w.take(seq); !ok {
		t.Fatal("lost")
	}
}

func TestEnquireLinkOfTheSMSCIsAnswered(t *testing.T) {
	t.Parallel()
	p := &peer{}
	simulate(t, p, Config{}, Handlers{}, func(*Link) {
		if _, err := p.conns[0].Write(AppendHeaderOnly(nil, EnquireLink, StatusOK, 99)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(p.seen) != 1 || p.seen[0].Command != EnquireLinkResp || p.seen[0].Sequence != 99 {
			t.Fatalf("%+v", p.seen)
		}
	})
}

func TestUnbindOfTheSMSCIsAnsweredAndEndsTheBindAfterAGrace(t *testing.T) {
	t.Parallel()
	p := &peer{}
	var results []SegmentResult
	h := Handlers{Results: func(r []SegmentResult) { results = append(results, r...) }}
	simulate(t, p, Config{}, h, func(l *Link) {
		l.Start(texts(2))
		synctest.Wait()
		if _, err := p.conns[0].Write(AppendHeaderOnly(nil, Unbind, StatusOK, 5)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p.count(UnbindResp) != 1 || len(results) != 0 {
			t.Fatalf("%d unbind_resp, %+v", p.count(UnbindResp), results)
		}
		// What was already answered on the way still counts.
		if _, err := p.conns[0].Write(AppendSubmitSMResp(nil, p.seen[0].Sequence, StatusOK, "1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if l.Room() != 0 {
			t.Fatal("room on a bind that is ending")
		}
		l.Start(texts(1))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(results) != 3 || results[0].Verdict != Accepted || results[1].Verdict != NotSent || results[2].Verdict != Uncertain || len(p.dials) != 2 {
			t.Fatalf("%+v, %d connections", results, len(p.dials))
		}
		if n := p.count(SubmitSM); n != 2 {
			t.Fatalf("%d submit_sm, one of them after unbind", n)
		}
	})
}

func TestThrottledWhenTheLinkBreaksIsTemporary(t *testing.T) {
	t.Parallel()
	p := &peer{serve: func(h Header, _ []byte) []byte { return AppendSubmitSMResp(nil, h.Sequence, StatusThrottled, "") }}
	var results []SegmentResult
	h := Handlers{Results: func(r []SegmentResult) { results = append(results, r...) }}
	simulate(t, p, Config{}, h, func(l *Link) {
		l.Start(texts(2))
		synctest.Wait()
		p.conns[0].Close()
		synctest.Wait()
		if len(results) != 2 {
			t.Fatalf("%+v", results)
		}
		for _, r := range results {
			if r.Verdict != Temporary || r.Status != StatusThrottled {
				t.Errorf("%+v", r)
			}
		}
	})
}

// TestThrottledSegmentsGoFirstWithoutPartingAnotherMessage has two submits throttled while a long message is half written.
func TestThrottledSegmentsGoFirstWithoutPartingAnotherMessage(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ы", 200)
	var order []string
	var first uint32
	p := &peer{}
	p.serve = func(h Header, body []byte) []byte {
		if h.Command != SubmitSM {
			return nil
		}
		var m ShortMessage
		if err := m.Decode(body); err != nil {
			return nil
		}
		name := m.Dest.Addr
		if m.ESMClass&esmUDHI != 0 {
			name += fmt.Sprint("/", m.ShortMessage[5])
		}
		order = append(order, name)
		switch len(order) {
		case 1:
			first = h.Sequence
			return nil
		case 2: // the long message has begun: both are refused
			return AppendSubmitSMResp(AppendSubmitSMResp(nil, h.Sequence, StatusThrottled, ""), first, StatusThrottled, "")
		}
		return AppendSubmitSMResp(nil, h.Sequence, StatusOK, "id")
	}
	simulate(t, p, Config{Rate: 10, EnquireLink: time.Hour}, Handlers{}, func(l *Link) {
		l.Start([]Message{{ID: 1, To: Address{Addr: "1"}, Text: "раз"}, {ID: 2, To: Address{Addr: "2"}, Text: long}, {ID: 3, To: Address{Addr: "3"}, Text: "три"}})
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{"1", "2/1", "2/1", "2/2", "2/3", "1", "3"}
		if !slices.Equal(order, want) {
			t.Fatalf("%v, not %v", order, want)
		}
	})
}
