package main

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/fixtures"
	"ekc/ingest"
	"ekc/smpp/smpptest"
)

// takeoverMost is what a test allows where ten seconds are promised, since a busy machine takes its time.
const takeoverMost = 30 * time.Second

// TestKilledHoldersLinkIsTakenOverAndTheRateHolds: of two processes on one database one has the link; when it is killed the other takes
// the link over and finishes, and what both wrote, by the stamps taken before each write, keeps the rate.
func TestKilledHoldersLinkIsTakenOverAndTheRateHolds(t *testing.T) {
	t.Parallel()
	const rows, rate = 600, 50
	h := newTakeover(t, rate)
	ref := h.submit(rows, 1)
	holder, other := h.startTwo(h.server.URL(), "")
	h.approve(ref, rows)
	h.await("a hundred are sent", time.Minute, func() (bool, error) { return h.smsc.Stats().Messages >= 100, nil })
	if s := h.smsc.Stats(); s.LinksOpen != 1 || s.Binds != 1 {
		t.Errorf("%d links are bound after %d binds, want one", s.LinksOpen, s.Binds)
	}
	old := h.last().Link
	killed := time.Now()
	holder.killed(0)
	t.Logf("%s from kill -9 to the first message of the other", h.awaitOther(old, killed).Round(10*time.Millisecond))
	h.finish(ref, rows, other)
	if s := h.smsc.Stats(); s.Binds != 2 {
		t.Errorf("%d binds, want one of each process", s.Binds)
	}
	h.rateHolds(rate)
}

// TestHolderThatSleptWritesNothingUntilItHoldsThePoolAgain stops the holder as a hypervisor does. The other takes the link over, and
// what the first wakes with stays unsent: also the rest of a message it had begun, with no database to learn from that it is late. A
// transaction left open does not keep the other waiting.
func TestHolderThatSleptWritesNothingUntilItHoldsThePoolAgain(t *testing.T) {
	t.Parallel()
	const rows, rate, segments = 60, 40, 8
	text := "СФР: " + strings.Repeat("вам назначена выплата, подробности сообщит ваша клиентская служба. ", 7) + "Вопросы: 8-800-100-00-01"
	for _, c := range []struct {
		name, signal string
		cut          bool // the database stays away from the first for a while
	}{
		{"inside a message, without a database", "", true},
		{"inside a transaction", "recording:12:stop", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newTakeover(t, rate)
			ref := h.submitText(rows, text)
			database := h.valved()
			sleeper, other := h.startTwo(database.url, c.signal)
			h.approve(ref, rows)
			if c.signal == "" {
				h.await("a message is begun", time.Minute, func() (bool, error) {
					s := h.smsc.Stats()
					return s.Messages > 8 && s.Accepted%segments == 2, nil
				})
				must(t, sleeper.Process.Signal(syscall.SIGSTOP))
			}
			h.await("the first sleeps", time.Minute, func() (bool, error) { return sleeper.stopped() })
			slept, old := time.Now(), h.last().Link
			if c.cut {
				database.close()
			}
			t.Logf("%s from SIGSTOP to the first segment of the other", h.awaitOther(old, slept).Round(10*time.Millisecond))
			h.await("the other is at work", time.Minute, func() (bool, error) { return h.last().Link != old && h.smsc.Stats().Messages > 16, nil })
			if s := h.smsc.Stats(); s.LinksOpen != 2 {
				t.Fatalf("%d links are open: the one that sleeps has nothing left to write to", s.LinksOpen)
			}
			woken := time.Now()
			must(t, sleeper.Process.Signal(syscall.SIGCONT))
			h.await("the first has closed its link", takeoverMost, func() (bool, error) { return h.smsc.Stats().LinksOpen == 1, nil })
			t.Logf("slept %s; its link was closed %s after SIGCONT", woken.Sub(slept).Round(10*time.Millisecond), time.Since(woken).Round(10*time.Millisecond))
			time.Sleep(3 * time.Second) // in which whatever the first still believes would show
			if c.cut {
				database.open()
				time.Sleep(time.Second)
			}
			if s := h.smsc.Stats(); s.Binds != 2 || s.LinksOpen != 1 {
				t.Errorf("%d links are bound after %d binds: the one that slept is back before it holds the pool", s.LinksOpen, s.Binds)
			}
			if n := h.late(old); n > rate/10+1 {
				t.Errorf("the one that slept wrote %d segments after the other had begun: more than one write", n)
			} else {
				t.Logf("the one that slept wrote %d segments after the other had begun", n)
			}
			if s := h.smsc.Stats(); s.Destinations == rows {
				t.Fatal("everything was sent: nothing is left to show that the first goes on")
			}
			stopped := time.Now()
			second := h.last().Link
			other.stop(t)
			t.Logf("%s from the other's stop to the next segment", h.awaitOther(second, stopped).Round(10*time.Millisecond))
			h.finish(ref, rows, sleeper)
		})
	}
}

// takeover is a crashHub of two processes.
type takeover struct{ *crashHub }

func newTakeover(t *testing.T, rate int) *takeover {
	t.Helper()
	// With every answer under way for a while there is always something unanswered to lose.
	return &takeover{newCrashHub(t, func(c *smpptest.Config) { c.Keep, c.Latency = true, 200*time.Millisecond }, fmt.Sprintf("rate: %d,", rate))}
}

// startTwo starts two processes, each with a state folder of its own; the first has the link before the second is there.
func (h *takeover) startTwo(databaseURL, kill string) (holder, other *child) {
	h.t.Helper()
	config := h.config
	defer func() { h.config = config }()
	text, err := os.ReadFile(config)
	must(h.t, err)
	text = bytes.Replace(text, fmt.Appendf(nil, "%q", h.server.URL()), fmt.Appendf(nil, "%q", databaseURL), 1)
	state := filepath.Join(h.dir, "state")
	h.config = filepath.Join(h.dir, "first.yaml")
	must(h.t, os.WriteFile(h.config, bytes.Replace(text, []byte(state), []byte(state+"-first"), 1), 0o600))
	holder = h.start(kill)
	h.await("the first has the link", time.Minute, func() (bool, error) { return h.smsc.Stats().LinksOpen == 1, nil })
	h.config = config
	other = h.start("")
	h.await("the second is ready", time.Minute, func() (bool, error) {
		text, err := os.ReadFile(other.log)
		return bytes.Contains(text, []byte("msg=ready")), err
	})
	return holder, other
}

// submitText brings a list of n rows with one text.
func (h *takeover) submitText(n int, text string) ingest.Ref {
	h.t.Helper()
	var file strings.Builder
	file.WriteString("Телефон;Текст\n")
	i := 0
	for p := range fixtures.Persons(1) {
		if i++; i > n {
			break
		}
		fmt.Fprintf(&file, "%s;%s\n", p.Phone, text)
	}
	ref, err := h.lists.Submit(h.t.Context(), loader, ingest.Header{Name: "takeover", LifeEvent: "OP-04",
		LegalBasis: &catalog.LegalBasis{Code: "test", Document: "приказ 1", Date: "2026-01-01"}, OrderedBy: "приказ 1"}, strings.NewReader(file.String()))
	must(h.t, err)
	return ref
}

// last is the segment that came last.
func (h *takeover) last() smpptest.Submitted {
	all := h.smsc.Submitted()
	if len(all) == 0 {
		h.t.Fatal("nothing was sent")
	}
	return all[len(all)-1]
}

// awaitOther waits until something comes on a link newer than old, and says how long after since.
func (h *takeover) awaitOther(old int, since time.Time) time.Duration {
	h.t.Helper()
	var first smpptest.Submitted
	h.await("another has taken the link", takeoverMost, func() (bool, error) {
		all := h.smsc.Submitted()
		i := slices.IndexFunc(all, func(s smpptest.Submitted) bool { return s.Link > old })
		if i >= 0 {
			first = all[i]
		}
		return i >= 0, nil
	})
	return first.At.Sub(since)
}

// late is how many segments came on a link after a newer one had begun.
func (h *takeover) late(old int) (n int) {
	begun := false
	for _, s := range h.smsc.Submitted() {
		begun = begun || s.Link > old
		if begun && s.Link == old {
			n++
		}
	}
	return n
}

// finish waits for the end, stops the process that is left, and finds every row told, every double marked and every receipt stored.
func (h *takeover) finish(ref ingest.Ref, rows int, left *child) {
	t := h.t
	t.Helper()
	h.await("list completed", 2*time.Minute, func() (bool, error) {
		l, err := h.list(ref)
		return err == nil && l.State == ingest.Completed, err
	})
	h.await("receipts acknowledged", time.Minute, func() (bool, error) { return h.smsc.Stats().Waiting() == 0, nil })
	left.stop(t)
	s := h.smsc.Stats()
	if s.Destinations != rows {
		t.Errorf("%d phones were told, want %d", s.Destinations, rows)
	}
	if n := h.count(`SELECT count(*) FROM outcomes WHERE state = 10`); n != rows {
		t.Errorf("%d ended as delivered, want %d", n, rows)
	}
	if n := h.count(`SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM leases)`); n != 0 {
		t.Errorf("%d rows are left in outbox and leases", n)
	}
	if s.Doubles > 2*crashWindow {
		t.Errorf("%d doubles, at most %d are allowed", s.Doubles, 2*crashWindow)
	}
	if s.NotAdjacent > 0 {
		t.Errorf("%d segments did not follow their predecessor", s.NotAdjacent)
	}
	doubled := h.doublesAreMarked()
	t.Logf("%d rows: %d phones got a segment twice, %d marked uncertain; the simulator counted %d in a second, %d in 100 ms", rows, doubled,
		h.count(`SELECT count(DISTINCT notification) FROM attempts WHERE state = 2`), s.MaxPerSecond, s.MaxPer100ms)
	h.compareWithJournal()
}

// doublesAreMarked finds, for every phone that got a segment twice, the notification by the copy whose message_id is known.
func (h *takeover) doublesAreMarked() (doubled int) {
	h.t.Helper()
	type segment struct {
		to string
		no int
	}
	copies, ids := map[segment]int{}, map[string][]string{}
	twice := map[string]bool{}
	for _, s := range h.smsc.Submitted() {
		k := segment{s.To, s.Segment}
		copies[k]++
		ids[s.To] = append(ids[s.To], s.MessageID)
		if copies[k] > 1 {
			twice[s.To] = true
		}
	}
	for to := range twice {
		if h.count(`SELECT count(*) FROM attempts a JOIN attempts u ON u.notification = a.notification AND u.state = 2
			WHERE a.message_id = ANY($1)`, ids[to]) == 0 {
			h.t.Error("a phone got a segment twice, and nothing in history says that it was uncertain")
		}
	}
	return len(twice)
}

// rateHolds looks at the stamps of all processes together: of the messages of one segment, which every one here is.
func (h *takeover) rateHolds(rate int) {
	t := h.t
	t.Helper()
	rows, err := h.db.Query(t.Context(), `SELECT at FROM attempts WHERE state = 4 ORDER BY at`)
	must(t, err)
	stamps, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	must(t, err)
	most := func(span time.Duration) (n int) {
		first := 0
		for i, at := range stamps {
			for at.Sub(stamps[first]) >= span {
				first++
			}
			n = max(n, i-first+1)
		}
		return n
	}
	second, tenth := most(time.Second), most(100*time.Millisecond)
	t.Logf("%d stamps: at most %d in a second (rate %d), %d in 100 ms", len(stamps), second, rate, tenth)
	if second > rate || tenth > rate/10+1 {
		t.Errorf("%d in a second and %d in 100 ms, want at most %d and %d", second, tenth, rate, rate/10+1)
	}
	if s := h.smsc.Stats(); len(stamps) < s.Accepted-2*crashWindow {
		t.Errorf("%d stamps of %d segments: too few to tell", len(stamps), s.Accepted)
	}
}

// stopped says whether SIGSTOP has taken effect: proc_pid_stat(5), the field after the name.
func (c *child) stopped() (bool, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
	if err != nil {
		return false, err
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return len(after) > 0 && after[0] == 'T', nil
}

// valve stands before a database and can hold back every byte of both directions, as a network does that drops packets. Only the
// goroutine of the test turns it.
type valve struct {
	url  string
	mu   sync.RWMutex // locked while shut
	shut bool
}

func (v *valve) close() {
	v.mu.Lock()
	v.shut = true
}

func (v *valve) open() {
	if v.shut {
		v.shut = false
		v.mu.Unlock()
	}
}

// valved opens a valve to the hub's database.
func (h *takeover) valved() *valve {
	h.t.Helper()
	u, err := url.Parse(h.server.URL())
	must(h.t, err)
	query := u.Query()
	name := ".s.PGSQL." + query.Get("port")
	target := filepath.Join(query.Get("host"), name)
	dir, err := os.MkdirTemp("", "ekcdb") // the path of a unix socket is short
	must(h.t, err)
	listener, err := net.Listen("unix", filepath.Join(dir, name))
	must(h.t, err)
	query.Set("host", dir)
	u.RawQuery = query.Encode()
	v := &valve{url: u.String()}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			conns.Go(func() { v.pass(server, client) })
			conns.Go(func() { v.pass(client, server) })
		}
	})
	h.t.Cleanup(func() {
		v.open()
		_ = listener.Close()
		conns.Wait() // the processes are dead by now, and with them their connections
		_ = os.RemoveAll(dir)
	})
	return v
}

// pass ends with either connection.
func (v *valve) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		v.mu.RLock()
		_, werr := to.Write(buf[:n])
		v.mu.RUnlock()
		if err != nil || werr != nil {
			return
		}
	}
}
