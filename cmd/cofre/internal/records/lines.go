package records

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

var (
	bom       = []byte("\xef\xbb\xbf")
	zstdMagic = []byte("\x28\xb5\x2f\xfd")
)

// maxWindow bounds what a compressed input may make the decoder allocate.
const maxWindow = 64 << 20

// stream opens a byte stream: it decompresses what is compressed and drops a
// byte order mark. The decoder has no goroutines, so it needs no Close.
func stream(r io.Reader) (*bufio.Reader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	if head, err := br.Peek(len(zstdMagic)); err == nil && bytes.Equal(head, zstdMagic) {
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		br = bufio.NewReaderSize(decompressed{zr}, 64<<10)
	}
	if head, err := br.Peek(len(bom)); err == nil && bytes.Equal(head, bom) {
		br.Discard(len(bom))
	}
	return br, nil
}

// decompressed says of every error of the decoder that it is one of a
// compressed input, and never passes a cut stream off as the end.
type decompressed struct{ r io.Reader }

func (d decompressed) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("compressed input: %w", err)
	}
	return n, err
}

// A lineReader gives lines of bounded length with their numbers.
type lineReader struct {
	r    *bufio.Reader
	max  int
	line int64 // the number of the line that next returned last
	buf  []byte
}

// next returns the next line that is not blank, without its end. It is valid
// until the following call. The error is as of Reader.Next.
func (l *lineReader) next() ([]byte, error) {
	for {
		text, err := l.read()
		if err != nil {
			return nil, err
		}
		text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
		if len(bytes.TrimSpace(text)) > 0 {
			return text, nil
		}
	}
}

func (l *lineReader) read() ([]byte, error) {
	l.buf = l.buf[:0]
	l.line++
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if long = long || len(l.buf)+len(part) > l.max; !long {
			if err == nil && len(l.buf) == 0 {
				return part, nil // the common case: the line lies in r's buffer
			}
			l.buf = append(l.buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && err != io.EOF:
			return nil, err
		case long:
			return nil, badLine(l.line, "longer than %d bytes", l.max)
		case err == io.EOF && len(l.buf) == 0:
			return nil, io.EOF
		}
		return l.buf, nil
	}
}
