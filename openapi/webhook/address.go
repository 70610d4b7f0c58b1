package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// errAddress says that a name of a webhook leads to where we do not go.
var errAddress = errors.New("the address is one that webhooks do not go to")

// checkURL takes https, and http for this very machine; no user, no fragment, nothing that is not an URL.
func checkURL(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || len(text) > 500 || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return nil, false
	}
	return u, u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// newClient goes to public addresses, and to those of the networks named: what a name resolves to is looked at when the connection is
// made, so that it cannot change in between. A host that is loopback by its name goes to loopback only. It follows no redirects and
// no proxy.
func newClient(networks []netip.Prefix) *http.Client {
	dialer := func(loopback bool) *net.Dialer {
		return &net.Dialer{Timeout: connectWithin, Control: func(_, address string, _ syscall.RawConn) error {
			if !mayGo(address, loopback, networks) {
				return errAddress
			}
			return nil
		}}
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, fmt.Errorf("webhook address: %w", err)
			}
			return dialer(isLoopback(host)).DialContext(ctx, network, address)
		},
		TLSHandshakeTimeout: connectWithin, ResponseHeaderTimeout: answerWithin, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 1,
		MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
	}
	return &http.Client{Transport: transport, Timeout: answerWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func mayGo(address string, loopback bool, networks []netip.Prefix) bool {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return false
	}
	ip := at.Addr().Unmap()
	switch {
	case loopback || ip.IsLoopback():
		return loopback && ip.IsLoopback()
	case !ip.IsGlobalUnicast(): // 0.0.0.0, link-local with the metadata of clouds, multicast
		return false
	case ip.IsPrivate() || sharedSpace.Contains(ip):
		return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
	}
	return true
}

// sharedSpace is RFC 6598's.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
