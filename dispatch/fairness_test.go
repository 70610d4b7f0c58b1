package dispatch

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestChooseSharesAmongAgenciesAndNeverExceeds(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 7))
	for range 3000 {
		var due []*run
		runsOf := map[string]int{} // by lane and agency
		lanes := [2]map[string]bool{{}, {}}
		for lane := range 2 {
			for a := range rng.IntN(12) {
				agency := fmt.Sprintf("%04d", a)
				for range 1 + rng.IntN(4) {
					due = append(due, &run{id: int32(len(due) + 1), agency: agency, lane: int16(lane + 1), weight: int16(1 + rng.IntN(3))})
					runsOf[fmt.Sprint(lane+1, agency)]++
				}
				lanes[lane][agency] = true
			}
		}
		n, turn := rng.IntN(200), rng.IntN(500)
		total := 0
		seen := map[int32]bool{}
		byAgency := [2]map[string]int{{}, {}}
		for _, p := range choose(due, n, &turn) {
			if p.limit < 1 || seen[p.run.id] {
				t.Fatalf("run %d: %d places, or picked twice", p.run.id, p.limit)
			}
			seen[p.run.id] = true
			total += p.limit
			byAgency[p.run.lane-1][p.run.agency] += p.limit
		}
		if want := min(n, n*len(due)); total != want {
			t.Fatalf("%d places of %d given to %d runs, want %d", total, n, len(due), want)
		}
		for lane := range 2 {
			least, most := n, 0
			for a := range lanes[lane] {
				least, most = min(least, byAgency[lane][a]), max(most, byAgency[lane][a])
			}
			if len(lanes[lane]) > 0 && most-least > 1 {
				t.Fatalf("lane %d: agencies got between %d and %d of %d", lane+1, least, most, n)
			}
		}
		if len(lanes[0]) > 0 && len(byAgency[1]) > 0 {
			t.Fatal("lane 2 was served while lane 1 could take everything")
		}
	}
}

func TestChooseGivesEachItsTurnWhenThereIsLittle(t *testing.T) {
	t.Parallel()
	const agencies, slots = 200, 7
	var due []*run
	for a := range agencies {
		for range 1 + a%3 { // the number of lists buys nothing
			due = append(due, &run{id: int32(len(due)), agency: fmt.Sprintf("%04d", a), lane: 2, weight: 1})
		}
	}
	turn := 0
	got := map[string]int{}
	for range 4 * agencies {
		for _, p := range choose(due, slots, &turn) {
			got[p.run.agency] += p.limit
		}
	}
	for agency, n := range got {
		if n != 4*slots {
			t.Errorf("%s got %d, want %d", agency, n, 4*slots)
		}
	}
	if len(got) != agencies {
		t.Errorf("%d agencies were served, want %d", len(got), agencies)
	}
}

// orderChannel remembers whose attempts were started, in their order.
type orderChannel struct {
	*fakeChannel
	mu    *sync.Mutex
	order *[]string
}

func (c orderChannel) Start(attempts []*Attempt) {
	c.mu.Lock()
	for _, a := range attempts {
		*c.order = append(*c.order, a.Agency)
	}
	c.mu.Unlock()
	c.fakeChannel.Start(attempts)
}

func TestTwoHundredAgenciesEachGetHalfTheirFairShare(t *testing.T) {
	t.Parallel()
	const agencies, rows, greedy, slots = 200, 10, 1000, 1000 // 100 a second: ten seconds are 1000 slots, a fair share is 5
	w := newWorld(t)
	for range 2 {
		w.admit(admit{agency: "0000.big", rows: greedy / 2, lane: LaneBulk})
	}
	for a := range agencies {
		if w.lists%100 >= 39 { // phoneOf knows the mobile codes from 900 to 939
			w.lists += 61
		}
		w.admit(admit{agency: fmt.Sprintf("%04d.small", a+1), rows: rows, lane: LaneBulk})
	}
	var mu sync.Mutex
	var order []string
	p := w.pool(newFakeWire(), func(a *Attempt) Result {
		return Result{Attempt: a, Verdict: VerdictDelivered, Link: "l1", At: time.Now()}
	})
	open := p.Open
	p.Open = func(d Desk) Channel {
		c := open(d).(*fakeChannel)
		c.lines = 25 // a slow channel: 25 at a time
		return orderChannel{c, &mu, &order}
	}
	w.start("a", p)
	w.await("everybody is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(order) == agencies*rows+greedy
	})
	left := map[string]int{"0000.big": greedy}
	for a := range agencies {
		left[fmt.Sprintf("%04d.small", a+1)] = rows
	}
	window := map[string]int{}
	for i, agency := range order {
		window[agency]++
		left[agency]--
		if i >= slots {
			window[order[i-slots]]--
		}
		if i < slots-1 {
			continue
		}
		for a, n := range left {
			if n > 0 && window[a]*2 < slots/(agencies+1) {
				t.Fatalf("within %d slots up to the %dth start %s got %d, a fair share is %d", slots, i, a, window[a], slots/(agencies+1))
			}
		}
	}
}
