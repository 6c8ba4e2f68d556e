package s3

import (
	"context"
	"net"
	"time"
)

// A conn fails when nothing moves on it, in either direction, for a time: what
// one direction moves puts off the deadline of both, since an answer may have
// to wait for a long body. An idle connection fails too, and nobody minds.
type conn struct {
	net.Conn
	stall time.Duration
}

func dialer(stall time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: min(stall, 30*time.Second), KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{c, stall}, nil
	}
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		_ = c.SetDeadline(time.Now().Add(c.stall)) // fails only once the connection has
	}
	return n, err
}

// chunk is how much is written under one deadline, so that a slow line is not
// taken for a stalled one.
const chunk = 64 << 10

func (c *conn) Write(b []byte) (n int, err error) {
	for first := true; first || len(b) > 0; first = false {
		if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(b[:min(len(b), chunk)])
		n += m
		if err != nil {
			return n, err
		}
		b = b[m:]
	}
	return n, nil
}
