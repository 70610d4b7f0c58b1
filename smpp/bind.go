package smpp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// dialer opens the connection; tests put their own.
type dialer func(ctx context.Context, addr string, cfg *tls.Config) (net.Conn, error)

func dialNet(ctx context.Context, addr string, cfg *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if cfg != nil {
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// bindName is one bind to keep up.
type bindName struct {
	name string
	cmd  CommandID
}

func (l *Link) bindNames() []bindName {
	var all []bindName
	for i := range l.cfg.Binds {
		if l.cfg.Bind == TXRX {
			all = append(all, bindName{fmt.Sprintf("tx-%d", i+1), BindTransmitter}, bindName{fmt.Sprintf("rx-%d", i+1), BindReceiver})
		} else {
			all = append(all, bindName{fmt.Sprintf("trx-%d", i+1), BindTransceiver})
		}
	}
	return all
}

// Waits between tries. After a break the network's: fast, then up to ten seconds. After a refusal the person's: a minute, then up to a
// quarter of an hour, for all binds of the account; but an account just taken over may still be held by its last owner for a while.
const (
	netFirst, netMost         = 200 * time.Millisecond, 10 * time.Second
	refusalFirst, refusalMost = time.Minute, 15 * time.Minute
	otherFirst, otherMost     = 5 * time.Second, time.Minute
	takeoverSpan, takeoverTry = 2 * time.Minute, 5 * time.Second
	// steady is how long a bind must have stood to begin again from netFirst.
	steady = 10 * time.Second
)

// refusals is the back-off of an account whose binds are refused.
type refusals struct {
	mu      sync.Mutex
	started time.Time
	wait    time.Duration
	until   time.Time
}

// refused is how long to wait after status, and whether a person must see to it.
func (r *refusals) refused(status Status, now time.Time) (wait time.Duration, alarm bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := status == StatusAlyBnd || status == StatusBindFail
	verdict, _ := status.Verdict()
	switch {
	case held && now.Sub(r.started) < takeoverSpan:
		r.until = now.Add(takeoverTry)
		return takeoverTry, false
	case held || verdict == Misconfigured || verdict == Permanent:
		r.wait = min(max(2*r.wait, refusalFirst), refusalMost)
	default:
		r.wait = min(max(2*r.wait, otherFirst), max(otherMost, r.wait))
	}
	r.until = now.Add(r.wait)
	return r.wait, true
}

func (r *refusals) bound() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait, r.until = 0, time.Time{}
}

func (r *refusals) remaining(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until.Sub(now)
}

// refusal is a bind response that says no.
type refusal struct{ status Status }

func (r refusal) Error() string { return "bind refused: " + r.status.String() }

// keepBound binds, serves, and binds again until ctx ends.
func (l *Link) keepBound(ctx context.Context, fence context.CancelCauseFunc, b bindName) {
	netWait := time.Duration(0)
	for ctx.Err() == nil {
		l.tell(BindState{Bind: b.name, Phase: Connecting})
		s, err := l.bind(ctx, b)
		if err == nil {
			began := l.clock()
			l.joined(s)
			l.tell(BindState{Bind: b.name, Phase: Bound})
			err = s.serve(ctx)
			if l.clock().Sub(began) >= steady {
				netWait = 0
			}
			if errors.Is(err, ErrFenced) {
				fence(ErrFenced)
			}
		}
		if ctx.Err() != nil {
			break
		}
		state := BindState{Bind: b.name, Phase: Lost, Err: err}
		var no refusal
		var wait time.Duration
		if errors.As(err, &no) {
			state.Phase, state.Status = Refused, no.status
			wait, state.Alarm = l.refusals.refused(no.status, l.clock())
			l.stats.refused.Add(1)
		} else {
			if errors.Is(err, errUnboundByPeer) {
				state.Phase = Unbound
			}
			netWait = min(max(2*netWait, netFirst), netMost)
			wait = netWait/2 + rand.N(netWait/2+1)
		}
		state.RetryAt = l.clock().Add(wait)
		l.tell(state)
		pause(ctx, wait)
	}
	l.tell(BindState{Bind: b.name, Phase: Unbound})
}

// pause waits for d, or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// bind makes one connection and binds it, while no other bind of the account does, and not before its refusals allow.
func (l *Link) bind(ctx context.Context, b bindName) (*session, error) {
	select {
	case l.binding <- struct{}{}:
		defer func() { <-l.binding }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	pause(ctx, l.refusals.remaining(l.clock()))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	conn, err := l.dial(ctx, l.cfg.Addr, l.cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", l.cfg.Addr, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	r, err := l.bindOn(conn, b)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%v %s: %w", b.cmd, l.cfg.Addr, err)
	}
	l.refusals.bound()
	return newSession(l, b, conn, r), nil
}

const readBuffer = 64 << 10

// bindOn sends the bind request and waits for its response, passing over whatever else an SMSC may say before it.
func (l *Link) bindOn(conn net.Conn, b bindName) (*bufio.Reader, error) {
	if err := conn.SetDeadline(time.Now().Add(l.cfg.ResponseTimeout)); err != nil {
		return nil, err
	}
	request := AppendBind(nil, b.cmd, 1, &Bind{
		SystemID: l.cfg.SystemID, Password: l.cfg.Password, SystemType: l.cfg.SystemType, InterfaceVersion: 0x34,
	})
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, readBuffer)
	for {
		h, _, err := ReadPDU(r, nil)
		switch {
		case errors.Is(err, ErrTooLong):
		case err != nil:
			return nil, err
		case (h.Command == b.cmd.Response() || h.Command == GenericNack) && h.Sequence == 1:
			if h.Command == GenericNack && h.Status == StatusOK {
				h.Status = StatusUnknownErr
			}
			if h.Status != StatusOK {
				return nil, refusal{h.Status}
			}
			return r, conn.SetDeadline(time.Time{})
		case h.Command == EnquireLink:
			if _, err := conn.Write(AppendHeaderOnly(nil, EnquireLinkResp, StatusOK, h.Sequence)); err != nil {
				return nil, err
			}
		}
	}
}
