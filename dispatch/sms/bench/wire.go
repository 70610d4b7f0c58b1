package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"

	"ekc/smpp"
	"ekc/smpp/smpptest"
)

const window = 1000

// text is 59 characters of Cyrillic: one segment in UCS-2.
var text = string([]rune(strings.Repeat("Сообщение о выплате ", 3))[:59])

// smscCounts is what the SMS centre has seen.
type smscCounts struct {
	Accepted, Doubles, Receipts, Acked, Links int
	First, Last                               time.Time
}

// smscRole is the far side: it accepts everything, and sends a receipt some time after.
type smscRole struct{ server *smpptest.Server }

func (r *smscRole) perform(o order) (a answer, err error) {
	switch o.Op {
	case "listen":
		if r.server, err = smpptest.Start(smpptest.Config{ReceiptDelay: o.Delay}); err == nil {
			a.Addr = r.server.Addr()
		}
	case "counts":
		s := r.server.Stats()
		a.SMSC = smscCounts{s.Accepted, s.Doubles, s.Receipts, s.ReceiptsAcked, s.LinksOpen, s.First, s.Last}
	default:
		return a, errors.New("no such order")
	}
	return a, err
}

func (r *smscRole) end() {
	if r.server != nil {
		r.server.Close()
	}
}

// wireRole sends messages and answers receipts, and stores nothing.
type wireRole struct{}

func (wireRole) perform(o order) (answer, error) {
	switch o.Op {
	case "link":
		return answer{}, throughLink(o.Addr, o.N)
	case "go-smpp":
		return answer{}, throughGoSMPP(o.Addr, o.N)
	default:
		return answer{}, errors.New("no such order")
	}
}

func (wireRole) end() {}

func linkConfig(addr string) smpp.Config {
	return smpp.Config{Name: linkName, Addr: addr, SystemID: "ekc", Password: "secret", Window: window}
}

// throughLink sends n messages through our own session.
func throughLink(addr string, n int) error {
	var answered, received atomic.Int64
	news, bound := make(chan struct{}, 1), make(chan struct{}, 1)
	tell := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	link := smpp.NewLink(linkConfig(addr), smpp.Handlers{
		Results: func(r []smpp.SegmentResult) { answered.Add(int64(len(r))); tell(news) },
		Receipts: func(r []smpp.Receipt, done func(error)) {
			received.Add(int64(len(r)))
			done(nil)
			tell(news)
		},
		State: func(s smpp.BindState) {
			if s.Phase == smpp.Bound {
				tell(bound)
			}
		},
	}, slog.New(slog.DiscardHandler), time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- link.Run(ctx) }()
	<-bound
	const batch = 1000
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent := 0; sent < n; {
		room := min(batch, n-sent, link.Room(), 2*batch-(sent-int(answered.Load())))
		if room <= 0 {
			select {
			case <-news:
			case <-tick.C:
			}
			continue
		}
		messages := make([]smpp.Message, room)
		for i := range messages {
			messages[i] = smpp.Message{ID: uint64(sent + i), From: smpp.Address{TON: 5, Addr: sender}, To: smpp.Address{TON: 1, NPI: 1, Addr: number(0, sent+i)},
				Text: text, RegisteredDelivery: true}
		}
		link.Start(messages)
		sent += room
	}
	for int(received.Load()) < n {
		<-news
	}
	cancel()
	return <-ended
}

// throughGoSMPP sends n messages by one pipelined connection with go-smpp's PDUs: what is built on the field's usual library at best.
func throughGoSMPP(addr string, n int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	var out bytes.Buffer
	bind := pdu.NewBindTransceiver()
	_ = bind.Fields().Set(pdufield.SystemID, "ekc")
	_ = bind.Fields().Set(pdufield.Password, "secret")
	_ = bind.Fields().Set(pdufield.InterfaceVersion, 0x34)
	if err := bind.SerializeTo(&out); err != nil {
		return err
	}
	answered, received := 0, 0
	for sent := -1; received < n; {
		for sent >= 0 && sent < n && sent-answered < window && out.Len() < 32<<10 {
			p := pdu.NewSubmitSM(nil)
			f := p.Fields()
			for _, field := range []struct {
				name  pdufield.Name
				value any
			}{
				{pdufield.SourceAddr, sender}, {pdufield.SourceAddrTON, 5}, {pdufield.DestinationAddr, number(0, sent)},
				{pdufield.DestAddrTON, 1}, {pdufield.DestAddrNPI, 1}, {pdufield.RegisteredDelivery, 1}, {pdufield.ShortMessage, pdutext.UCS2(text)},
			} {
				if err := f.Set(field.name, field.value); err != nil {
					return err
				}
			}
			if err := p.SerializeTo(&out); err != nil {
				return err
			}
			sent++
		}
		if out.Len() > 0 {
			if _, err := conn.Write(out.Bytes()); err != nil {
				return err
			}
			out.Reset()
		}
		for more := true; more; more = r.Buffered() >= smpp.HeaderLen {
			p, err := pdu.Decode(r)
			if err != nil {
				return err
			}
			h := p.Header()
			switch {
			case h.Status != 0:
				return fmt.Errorf("%s: %w", h.ID, h.Status)
			case h.ID == pdu.BindTransceiverRespID:
				sent = 0
			case h.ID == pdu.SubmitSMRespID:
				answered++
			case h.ID == pdu.DeliverSMID:
				received++
				resp := pdu.NewDeliverSMRespSeq(h.Seq)
				if err := resp.SerializeTo(&out); err != nil {
					return err
				}
			}
		}
	}
	_, err = conn.Write(out.Bytes())
	return err
}
