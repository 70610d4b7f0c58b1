package smpptest

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"ekc/smpp"
)

// Server is a running SMS centre. One mutex guards all of its state: readers hold it for a batch of PDUs, the scheduler for a
// millisecond's worth of tasks, and nobody touches a socket under it.
type Server struct {
	cfg  Config
	ln   net.Listener
	seed maphash.Seed
	done chan struct{}
	wake chan struct{} // the scheduler has something earlier than it sleeps for
	wg   sync.WaitGroup

	mu       sync.Mutex
	now      time.Time // of the batch in hand
	accounts map[string]*account
	links    map[*link]struct{}
	linkNo   int
	senders  map[smpp.Address]*sender
	orphans  []*delivery // citizens' SMS that came before anybody had bound
	wheel    wheel
	sleeping time.Time // what the scheduler sleeps for; zero while it is awake
	resumed  *sync.Cond
	paused   bool
	refuse   smpp.Status
	closed   bool
	nextID   uint64
	moRef    uint16
	rng      *rand.Rand
	rec      record
	lines    *lineWriter
}

// sender is a source address, kept once.
type sender struct {
	smpp.Address
	hash uint64
}

// account is one system_id: what waits for it survives its links.
type account struct {
	systemID string
	links    []*link // bound ones
	turn     int
	waiting  queue
	rate     slidingRate // every submit_sm that came
	accepted slidingRate // what Config.Rate counts
}

// Start listens and serves until Close.
func Start(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for SMPP: %w", err)
	}
	var lines *lineWriter
	if cfg.RecordFile != "" {
		if lines, err = openLines(cfg.RecordFile, cfg.RecordText); err != nil {
			return nil, errors.Join(err, ln.Close())
		}
	}
	if cfg.TLS != nil {
		ln = tls.NewListener(ln, cfg.TLS)
	}
	now := time.Now()
	s := &Server{
		cfg:      cfg,
		ln:       ln,
		seed:     maphash.MakeSeed(),
		done:     make(chan struct{}),
		wake:     make(chan struct{}, 1),
		now:      now,
		accounts: map[string]*account{},
		links:    map[*link]struct{}{},
		senders:  map[smpp.Address]*sender{},
		nextID:   cfg.FirstID,
		rng:      rand.New(rand.NewPCG(uint64(now.UnixNano()), 1)),
		rec:      newRecord(cfg.Keep),
		lines:    lines,
	}
	s.wheel.start = now
	s.resumed = sync.NewCond(&s.mu)
	if s.nextID == 0 {
		s.nextID = uint64(now.UnixMicro())
	}
	s.wg.Add(2)
	go s.accept()
	go s.schedule()
	return s, nil
}

// Addr is where it listens, host:port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Close drops all links, waits for its goroutines and leaves the record readable.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.wg.Wait()
		return
	}
	s.closed = true
	s.paused = false
	close(s.done)
	links := s.openLinks()
	for _, l := range links {
		l.stop()
	}
	s.resumed.Broadcast()
	s.mu.Unlock()
	s.ln.Close()
	for _, l := range links {
		l.conn.Close()
	}
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines != nil {
		s.lines.close()
	}
}

// DropLinks cuts every connection without a word, as a lost network does; what is in flight is lost with it.
func (s *Server) DropLinks() {
	s.mu.Lock()
	links := s.openLinks()
	for _, l := range links {
		l.stop()
	}
	s.mu.Unlock()
	for _, l := range links {
		if c, ok := l.raw().(*net.TCPConn); ok {
			_ = c.SetLinger(0) // a reset, not a farewell
		}
		l.conn.Close()
	}
}

// Unbind sends unbind on every link; a link closes when its unbind_resp has come, or after a second.
func (s *Server) Unbind() {
	s.lock()
	defer s.mu.Unlock()
	for l := range s.links {
		l.unbind()
	}
}

// Pause stops reading and writing on every link, as a frozen SMS centre does; connections stay open and new ones are not answered.
func (s *Server) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = true
}

// Resume ends Pause.
func (s *Server) Resume() {
	s.lock()
	defer s.mu.Unlock()
	s.paused = false
	s.resumed.Broadcast()
	for l := range s.links {
		l.work.Signal()
	}
}

// RefuseBinds answers every further bind with status; StatusOK lets them in again. Links that are bound stay.
func (s *Server) RefuseBinds(status smpp.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = status
}

// Inject writes raw octets on every bound link, for PDUs no SMS centre should send.
func (s *Server) Inject(pdu []byte) {
	s.lock()
	defer s.mu.Unlock()
	for l := range s.links {
		if l.acct != nil {
			l.out = append(l.out, pdu...)
			l.work.Signal()
		}
	}
}

// lock takes the mutex and the time.
func (s *Server) lock() {
	s.mu.Lock()
	s.now = time.Now()
}

func (s *Server) openLinks() []*link {
	links := make([]*link, 0, len(s.links))
	for l := range s.links {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b *link) int { return cmp.Compare(a.no, b.no) })
	return links
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(10 * time.Millisecond): // out of descriptors, say
				continue
			}
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.linkNo++
		l := newLink(s, s.linkNo, conn)
		s.links[l] = struct{}{}
		s.wg.Add(2)
		s.mu.Unlock()
		go l.read()
		go l.write()
	}
}

// flushEvery bounds how long a line of the record may stay in memory.
const flushEvery = 50 * time.Millisecond

// schedule is the one goroutine that lets time pass: responses held back, receipts, replies, sweeps.
func (s *Server) schedule() {
	defer s.wg.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.lock()
		s.sleeping = time.Time{}
		s.wheel.fire(s.now, s.run)
		wait := time.Hour
		next, ok := s.wheel.next()
		if ok {
			wait = time.Until(next)
		}
		if s.lines != nil {
			if s.lines.flushIfDue(s.now) {
				wait = min(wait, flushEvery)
			}
		}
		s.sleeping = s.now.Add(wait)
		s.mu.Unlock()
		timer.Reset(max(wait, 200*time.Microsecond))
		select {
		case <-s.done:
			return
		case <-timer.C:
		case <-s.wake:
		}
	}
}

func (s *Server) run(t task) {
	if t.f != nil {
		t.f()
		return
	}
	t.d.account.offer(s, t.d)
}

// after schedules under the mutex.
func (s *Server) after(d time.Duration, t task) {
	s.wheel.add(s.now, d, t)
	s.nudge(s.now.Add(d))
}

// nudge wakes the scheduler when it sleeps past at.
func (s *Server) nudge(at time.Time) {
	if !s.sleeping.IsZero() && at.Before(s.sleeping) {
		s.sleeping = time.Time{}
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Server) account(systemID string) *account {
	a := s.accounts[systemID]
	if a == nil {
		a = &account{systemID: systemID}
		s.accounts[systemID] = a
	}
	return a
}

func (s *Server) sender(a smpp.Address) *sender {
	if k := s.senders[a]; k != nil {
		return k
	}
	k := &sender{Address: smpp.Address{TON: a.TON, NPI: a.NPI, Addr: string(append([]byte(nil), a.Addr...))}}
	k.hash = maphash.String(s.seed, a.Addr)
	s.senders[k.Address] = k
	return k
}
