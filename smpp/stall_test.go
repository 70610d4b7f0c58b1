package smpp

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// returned gathers results.
type returned struct {
	mu      sync.Mutex
	results []SegmentResult
}

func (r *returned) add(batch []SegmentResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, batch...)
}

func (r *returned) all() []SegmentResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.results)
}

func TestLongThrottledLinkGivesBackWhatWaits(t *testing.T) {
	t.Parallel()
	p := &peer{serve: func(h Header, _ []byte) []byte { return AppendSubmitSMResp(nil, h.Sequence, StatusThrottled, "") }}
	var back returned
	simulate(t, p, Config{Rate: 100, Window: 1}, Handlers{Results: back.add}, func(l *Link) {
		l.Start(texts(10))
		time.Sleep(1300 * time.Millisecond) // in the third pause, 0.8 s long
		synctest.Wait()
		if len(back.all()) != 0 {
			t.Errorf("%d came back although the link goes on within a second", len(back.all()))
		}
		time.Sleep(200 * time.Millisecond) // in the fourth, 1.6 s long
		synctest.Wait()
		if len(back.all()) != 9 {
			t.Errorf("%d came back, want the 9 that were never written", len(back.all()))
		}
		for _, r := range back.all() {
			if r.Verdict != NotSent || r.Reason != ReasonNoRoom {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// TestSMSCThatAnswersNothingGetsNothingMoreAndTheQueueComesBack: another link of the pool may carry what waits for this one.
func TestSMSCThatAnswersNothingGetsNothingMoreAndTheQueueComesBack(t *testing.T) {
	t.Parallel()
	p := &peer{}
	var got returned
	simulate(t, p, Config{Window: 5, ResponseTimeout: time.Minute, EnquireLink: time.Hour}, Handlers{Results: got.add}, func(l *Link) {
		l.Start(texts(12))
		time.Sleep(stallAfter - 10*time.Millisecond)
		synctest.Wait()
		back := got.all()
		if len(back) != 0 || l.Room() == 0 {
			t.Fatalf("given up before its time: %d came back, room %d", len(back), l.Room())
		}
		time.Sleep(time.Second + 20*time.Millisecond)
		synctest.Wait()
		back = got.all()
		if len(back) != 7 || l.Room() != 0 {
			t.Fatalf("%d came back and room is %d, want the 7 that are not written, and none", len(back), l.Room())
		}
		for _, r := range back {
			if r.Verdict != NotSent || r.Reason != ReasonNoRoom {
				t.Fatalf("%+v", r)
			}
		}
		if _, err := p.conns[0].Write(AppendSubmitSMResp(nil, p.seen[0].Sequence, StatusOK, "id")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		back = got.all()
		if len(back) != 8 || back[7].Verdict != Accepted || l.Room() == 0 {
			t.Fatalf("after an answer %d results, room %d", len(back), l.Room())
		}
		l.Start(texts(1))
		synctest.Wait()
		if n := p.count(SubmitSM); n != 6 {
			t.Fatalf("%d written, want the one there is place for again", n)
		}
		time.Sleep(time.Minute + 2*time.Second)
		synctest.Wait()
		back = got.all()
		if v := back[len(back)-1]; v.Verdict != Uncertain || len(back) != 13 || l.Room() == 0 {
			t.Fatalf("after the response timeout %d results, the last %+v, room %d: the link is to be tried again", len(back), v, l.Room())
		}
	})
}
