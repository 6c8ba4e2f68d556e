package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// AgentArg is the argument that makes the benchmark's command an agent: it calls
// Serve with its standard input and output.
const AgentArg = "agent"

// A spawner starts agents.
type spawner func() (*agent, error)

// An agent is the parent's end of an agent's process.
type agent struct {
	client *rpc.Client
	stop   func() error // ends the process, waits for it, says how it ended
	once   sync.Once
	ended  error
}

// call waits for a method of Agent. When ctx ends the agent is killed.
func (a *agent) call(ctx context.Context, method string, arg, reply any) error {
	call := a.client.Go("Agent."+method, arg, reply, make(chan *rpc.Call, 1))
	select {
	case <-ctx.Done():
		return errors.Join(ctx.Err(), a.end())
	case <-call.Done:
	}
	if errors.Is(call.Error, rpc.ErrShutdown) || errors.Is(call.Error, io.ErrUnexpectedEOF) || errors.Is(call.Error, io.EOF) {
		if err := a.end(); err != nil {
			return err
		}
		return errors.New("the process of the turn has ended early")
	}
	return call.Error
}

// end hangs up, and waits until the process is gone.
func (a *agent) end() error {
	a.once.Do(func() {
		_ = a.client.Close()
		a.ended = a.stop()
	})
	return a.ended
}

// spawnSelf starts this program as an agent. An agent that was told to end, or
// whose parent has gone, finds its input closed, and ends by itself.
func spawnSelf() (*agent, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, AgentArg)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var said tail
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process of a turn: %w", err)
	}
	return &agent{
		client: rpc.NewClient(pipes{out, in}),
		stop: func() error {
			patience := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Kill() })
			defer patience.Stop()
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("the process of the turn: %w: %s", err, said.String())
			}
			return nil
		},
	}, nil
}

// pipes are both directions of a conversation.
type pipes struct {
	io.ReadCloser
	w io.WriteCloser
}

func (p pipes) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p pipes) Close() error                { return p.w.Close() }

// tail keeps the end of what a process says.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if extra := len(t.b) - 4096; extra > 0 {
		t.b = append(t.b[:0], t.b[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(bytes.ToValidUTF8(t.b, nil)))
}
