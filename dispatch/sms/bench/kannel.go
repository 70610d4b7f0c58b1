package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ekc/postgres/measure"
)

// kannelConcurrency is how many HTTP clients there are: what suits it best.
const kannelConcurrency = 32

// errNoKannel says that its programs are not installed.
var errNoKannel = errors.New("not available: install the package `kannel` to compare with it")

// kannelRound sends messages by Kannel's sendsms over HTTP, in its best set-up for speed: file store, receipts in memory, 100 submits
// pending. Its rate is from the first to the last submit_sm at the SMS centre.
func (b *bench) kannelRound(ctx context.Context) (r sample, err error) {
	bearerbox, err1 := exec.LookPath("bearerbox")
	smsbox, err2 := exec.LookPath("smsbox")
	if err1 != nil || err2 != nil {
		return r, errNoKannel
	}
	smsc, addr, err := startSMSC(ctx, receiptDelay)
	if err != nil {
		return r, err
	}
	defer smsc.stop()
	dir, err := os.MkdirTemp(b.server.Dir, "kannel-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	config, sendsms, err := kannelConfig(dir, addr)
	if err != nil {
		return r, err
	}
	var pids []int
	for _, program := range []string{bearerbox, smsbox} {
		cmd, done := exec.Command(program, config), make(chan struct{})
		cmd.Dir = dir
		if err := startWithParent(cmd, done); err != nil {
			return r, fmt.Errorf("start %s: %w", program, err)
		}
		defer func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				_ = cmd.Process.Kill()
				<-done
			}
		}()
		pids = append(pids, cmd.Process.Pid)
		// bearerbox must listen before smsbox looks for it, smsbox before it is asked.
		if err := awaitKannel(ctx, program == smsbox, smsc, sendsms); err != nil {
			return r, err
		}
	}
	before := measure.CPU(pids[0]) + measure.CPU(pids[1])
	if err := sendByHTTP(ctx, sendsms, b.kannel); err != nil {
		return r, err
	}
	counts, err := awaitCounts(ctx, smsc, func(c smscCounts) bool { return c.Accepted >= b.kannel && c.Acked >= c.Receipts })
	if err != nil {
		return r, err
	}
	r.rate = float64(counts.Accepted-1) / counts.Last.Sub(counts.First).Seconds()
	r.app = (measure.CPU(pids[0]) + measure.CPU(pids[1]) - before) / float64(b.kannel) * 1e6
	r.rss = measure.Resident(pids[0])
	return r, nil
}

func kannelConfig(dir, smsc string) (file, sendsms string, err error) {
	host, port, err := net.SplitHostPort(smsc)
	if err != nil {
		return "", "", err
	}
	ports, err := freePorts(3)
	if err != nil {
		return "", "", err
	}
	text := fmt.Sprintf(`group = core
admin-port = %d
admin-interface = 127.0.0.1
admin-password = bench
smsbox-port = %d
smsbox-interface = 127.0.0.1
store-type = file
store-location = %s
dlr-storage = internal
log-level = 4
log-file = %s

group = smsc
smsc = smpp
host = %s
port = %s
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = ""
max-pending-submits = 100

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %d
sendsms-interface = 127.0.0.1
log-level = 4
log-file = %s

group = sendsms-user
username = bench
password = bench
`, ports[0], ports[1], filepath.Join(dir, "store"), filepath.Join(dir, "bearerbox.log"), host, port, ports[2], filepath.Join(dir, "smsbox.log"))
	file = filepath.Join(dir, "kannel.conf")
	return file, net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[2])), os.WriteFile(file, []byte(text), 0o600)
}

// freePorts are ports nobody listened on a moment ago: Kannel cannot choose its own.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// awaitKannel waits for bearerbox's bind at the SMS centre and its port for smsbox, then for smsbox's HTTP port.
func awaitKannel(ctx context.Context, smsbox bool, smsc *child, sendsms string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if !smsbox {
		if _, err := awaitCounts(ctx, smsc, func(c smscCounts) bool { return c.Links > 0 }); err != nil {
			return fmt.Errorf("kannel: bearerbox does not bind: %w", err)
		}
		return nil
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", sendsms)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kannel: smsbox does not listen: %w", err)
		case <-tick.C:
		}
	}
}

func sendByHTTP(ctx context.Context, addr string, n int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: kannelConcurrency}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var g sync.WaitGroup
	errs := make(chan error, kannelConcurrency)
	for range kannelConcurrency {
		g.Go(func() {
			for {
				i := int(next.Add(1))
				if i > n || ctx.Err() != nil {
					return
				}
				if err := sendOne(ctx, client, addr, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	g.Wait()
	close(errs)
	return <-errs
}

func sendOne(ctx context.Context, client *http.Client, addr string, i int) error {
	q := url.Values{"username": {"bench"}, "password": {"bench"}, "from": {sender}, "to": {number(0, i)}, "text": {text}, "coding": {"2"},
		"charset": {"UTF-8"}, "dlr-mask": {"31"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/cgi-bin/sendsms?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // unread, the connection is not used again
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("kannel: sendsms answered %s", resp.Status)
	}
	return nil
}
