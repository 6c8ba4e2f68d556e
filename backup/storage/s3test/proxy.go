package s3test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// A Fault is what a Proxy does to one request.
type Fault int

// The faults of a network, and of servers that are ill.
const (
	Pass        Fault = iota
	Refuse            // cuts the connection before the request reaches the server
	Lose              // lets it through and cuts the connection instead of answering
	Error500          // answers 500 itself
	Error503          // answers 503 SlowDown itself
	Late503           // lets it through and answers 503
	Stall             // takes the request and does not answer
	StallLate         // lets it through and does not answer
	StallBody         // sends half of the answer's body, and no more
	CutBody           // sends half of the answer's body and cuts the connection
	ShortBody         // sends half of the answer's body as if it were the whole
	CutRequest        // sends the server half of the request's body
	FlipRequest       // changes a byte of the request's body
	Repeat            // sends the request twice and gives the second answer
	Faults            // how many there are
)

func (f Fault) String() string {
	return [...]string{
		"pass", "refuse", "lose", "500", "503", "late 503", "stall", "stall late", "stall body", "cut body",
		"short body", "cut request", "flip request", "repeat",
	}[f]
}

// A Proxy stands between a client and a server.
type Proxy struct {
	Endpoint string // URL for clients

	server string
	client http.Client
	end    chan struct{} // closed when the test ends

	mu       sync.Mutex
	fault    func(*http.Request) Fault // guarded by mu
	injected map[Fault]int             // guarded by mu
}

// NewProxy starts a proxy of the server at endpoint, which ends with the test.
func NewProxy(t testing.TB, endpoint string) *Proxy {
	p := &Proxy{server: endpoint, end: make(chan struct{}), injected: map[Fault]int{}}
	p.client.Transport = &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	server := httptest.NewServer(p)
	t.Cleanup(func() {
		close(p.end)
		server.CloseClientConnections()
		server.Close()
	})
	p.Endpoint = server.URL
	return p
}

// Set says what happens to requests from now on; nil lets them pass. The
// function is called by one request at a time.
func (p *Proxy) Set(fault func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Injected is how often a fault was done.
func (p *Proxy) Injected(f Fault) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.injected[f]
}

func (p *Proxy) next(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := Pass
	if p.fault != nil {
		fault = p.fault(r)
	}
	p.injected[fault]++
	return fault
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := p.next(r)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
	switch fault {
	case Refuse:
		panic(http.ErrAbortHandler)
	case Error500:
		refuse(w, 500, "InternalError")
		return
	case Error503:
		refuse(w, 503, "SlowDown")
		return
	case Stall:
		p.hang(r)
	case FlipRequest:
		if len(body) > 0 {
			body[len(body)/2] ^= 0x10
		}
	case Repeat:
		if _, _, err := p.forward(r, body, int64(len(body))); err != nil {
			panic(http.ErrAbortHandler)
		}
	case CutRequest:
		if len(body) > 1 {
			if _, _, err := p.forward(r, body[:len(body)/2], int64(len(body))); err == nil {
				panic(http.ErrAbortHandler)
			}
			panic(http.ErrAbortHandler)
		}
	}
	answer, b, err := p.forward(r, body, int64(len(body)))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	p.answer(w, r, fault, answer, b)
}

// answer gives the client the server's answer.
func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, fault Fault, answer *http.Response, b []byte) {
	switch fault {
	case Lose:
		panic(http.ErrAbortHandler)
	case StallLate:
		p.hang(r)
	case Late503:
		refuse(w, 503, "SlowDown")
		return
	case ShortBody:
		if len(b) > 1 {
			b = b[:len(b)/2]
			answer.Header.Del("Content-Length")
			answer.Header.Set("Content-Length", strconv.Itoa(len(b)))
		}
	}
	for k, v := range answer.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.StatusCode)
	half := b[:len(b)/2]
	switch fault {
	case StallBody, CutBody:
		_, _ = w.Write(half) // fails where the client has gone
		_ = http.NewResponseController(w).Flush()
		if fault == StallBody {
			p.hang(r)
		}
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(b) // fails where the client has gone
}

// hang waits until the client has enough, and cuts the connection.
func (p *Proxy) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.end:
	}
	panic(http.ErrAbortHandler)
}

// forward sends the request to the server as it is: its signature covers the
// name of the host. The body may be shorter than what is announced.
func (p *Proxy) forward(r *http.Request, body []byte, announced int64) (*http.Response, []byte, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.server+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	out.Header = r.Header.Clone()
	out.Header.Del("Expect") // answered by this server
	out.Host = r.Host
	out.ContentLength = announced
	if announced == 0 {
		out.Body = http.NoBody
	}
	answer, err := p.client.Do(out)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer, b, err
}
