package s3test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Fake is an S3 server in the process, for unit tests of what no honest
// server does. It has one bucket, [FakeBucket], and does not check signatures.
// Its fields may be set while no request runs.
type Fake struct {
	Endpoint string

	NoChecksums  bool // reports no checksums
	NoMetadata   bool // forgets metadata
	NoConditions bool // ignores If-None-Match and If-Match
	NoRanges     bool // sends the whole object, whatever the range
	Descending   bool // lists in the wrong order
	Forget       bool // takes objects and keeps none
	// Damage changes what is stored of an object or a part; nil changes
	// nothing.
	Damage func(b []byte) []byte

	mu      sync.Mutex
	objects map[string]*object  // guarded by mu
	uploads map[string]*uploads // by id; guarded by mu
	nextID  int                 // guarded by mu
}

// FakeBucket is the bucket that a Fake has.
const FakeBucket = "fake-bucket"

type object struct {
	b        []byte
	etag     string
	sum      string
	id       string
	modified time.Time
}

type uploads struct {
	key, id string
	parts   map[int]*object
	began   time.Time
}

// NewFake starts a fake, which ends with the test.
func NewFake(t testing.TB) *Fake {
	f := &Fake{objects: map[string]*object{}, uploads: map[string]*uploads{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.Endpoint = server.URL
	return f
}

// Uploads is how many uploads in parts are open.
func (f *Fake) Uploads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.uploads)
}

// Age makes open uploads older.
func (f *Fake) Age(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.uploads {
		u.began = u.began.Add(-d)
	}
}

const idHeader = "X-Amz-Meta-Cofre-Upload"

func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	if want := r.Header.Get("X-Amz-Content-Sha256"); len(want) == 64 {
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != want {
			refuse(w, 400, "XAmzContentSHA256Mismatch")
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key, ok := strings.CutPrefix(r.URL.Path, "/"+FakeBucket)
	if !ok {
		refuse(w, 404, "NoSuchBucket")
		return
	}
	key = strings.TrimPrefix(key, "/")
	q := r.URL.Query()
	switch {
	case key == "" && q.Has("uploads"):
		f.listUploads(w, q.Get("prefix"))
	case key == "":
		f.list(w, q.Get("prefix"), q.Get("continuation-token"), q.Get("max-keys"))
	case r.Method == http.MethodPost && q.Has("uploads"):
		f.begin(w, r, key)
	case q.Has("uploadId"):
		f.inParts(w, r, key, body)
	case r.Method == http.MethodPut:
		f.put(w, r, key, f.object(body, r.Header.Get(idHeader)))
	case r.Method == http.MethodDelete:
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		f.get(w, r, key)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

func (f *Fake) object(b []byte, id string) *object {
	sum, etag := sha256.Sum256(b), md5.Sum(b)
	if f.Damage != nil {
		b = f.Damage(slices.Clone(b))
	}
	return &object{b, `"` + hex.EncodeToString(etag[:]) + `"`, base64.StdEncoding.EncodeToString(sum[:]), id, time.Now()}
}

// put stores an object if the request's conditions hold.
func (f *Fake) put(w http.ResponseWriter, r *http.Request, key string, o *object) bool {
	have := f.objects[key]
	if !f.NoConditions {
		switch match := r.Header.Get("If-Match"); {
		case r.Header.Get("If-None-Match") == "*" && have != nil, match != "" && have != nil && have.etag != match:
			refuse(w, 412, "PreconditionFailed")
			return false
		case match != "" && have == nil:
			refuse(w, 404, "NoSuchKey")
			return false
		}
	}
	if !f.Forget {
		f.objects[key] = o
	}
	f.describe(w, o)
	return true
}

func (f *Fake) describe(w http.ResponseWriter, o *object) {
	w.Header().Set("ETag", o.etag)
	w.Header().Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
	if !f.NoMetadata {
		w.Header().Set(idHeader, o.id)
	}
	if !f.NoChecksums {
		w.Header().Set("X-Amz-Checksum-Sha256", o.sum)
	}
}

func (f *Fake) get(w http.ResponseWriter, r *http.Request, key string) {
	o := f.objects[key]
	switch match := r.Header.Get("If-Match"); {
	case o == nil:
		refuse(w, 404, "NoSuchKey")
		return
	case match != "" && match != o.etag:
		refuse(w, 412, "PreconditionFailed")
		return
	}
	f.describe(w, o)
	b, status := o.b, http.StatusOK
	if from, to, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"); ok && !f.NoRanges {
		first, err := strconv.Atoi(from)
		last := len(b) - 1
		if n, err := strconv.Atoi(to); err == nil {
			last = min(n, last)
		}
		if err != nil || first >= len(b) {
			refuse(w, 416, "InvalidRange")
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(b)))
		b, status = b[first:last+1], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b) // fails where the client has gone
	}
}

func (f *Fake) list(w http.ResponseWriter, prefix, token, limit string) {
	type content struct {
		Key, ETag, LastModified string
		Size                    int
	}
	result := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}{}
	var keys []string
	for key := range f.objects {
		if strings.HasPrefix(key, prefix) && key > token {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if n, err := strconv.Atoi(limit); err == nil && len(keys) > n {
		keys = keys[:n]
		result.IsTruncated, result.NextContinuationToken = true, keys[n-1]
	}
	if f.Descending {
		slices.Reverse(keys)
	}
	for _, key := range keys {
		o := f.objects[key]
		result.Contents = append(result.Contents, content{key, o.etag, o.modified.UTC().Format(time.RFC3339), len(o.b)})
	}
	reply(w, result)
}

func reply(w http.ResponseWriter, result any) {
	w.Header().Set("Content-Type", "application/xml")
	b, err := xml.Marshal(result)
	if err != nil {
		panic(err) // a mistake in this file
	}
	_, _ = w.Write(b) // fails where the client has gone
}

func (f *Fake) begin(w http.ResponseWriter, r *http.Request, key string) {
	f.nextID++
	id := strconv.Itoa(f.nextID)
	f.uploads[id] = &uploads{key, r.Header.Get(idHeader), map[int]*object{}, time.Now()}
	reply(w, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		UploadId string
	}{UploadId: id})
}

func (f *Fake) listUploads(w http.ResponseWriter, prefix string) {
	type upload struct{ Key, UploadId, Initiated string }
	result := struct {
		XMLName xml.Name `xml:"ListMultipartUploadsResult"`
		Upload  []upload
	}{}
	for id, u := range f.uploads {
		if !strings.HasPrefix(u.key, prefix) {
			continue
		}
		result.Upload = append(result.Upload, upload{u.key, id, u.began.UTC().Format(time.RFC3339)})
	}
	reply(w, result)
}

func (f *Fake) inParts(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	id := r.URL.Query().Get("uploadId")
	u := f.uploads[id]
	if u == nil {
		refuse(w, 404, "NoSuchUpload")
		return
	}
	switch r.Method {
	case http.MethodPut:
		n, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
		if err != nil {
			refuse(w, 400, "InvalidArgument")
			return
		}
		u.parts[n] = f.object(body, "")
		f.describe(w, u.parts[n])
	case http.MethodDelete:
		delete(f.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		f.complete(w, r, key, u, body)
	}
}

func (f *Fake) complete(w http.ResponseWriter, r *http.Request, key string, u *uploads, body []byte) {
	var request struct {
		Part []struct{ PartNumber int }
	}
	if err := xml.Unmarshal(body, &request); err != nil {
		refuse(w, 400, "MalformedXML")
		return
	}
	var all, sums bytes.Buffer
	for _, p := range request.Part {
		part := u.parts[p.PartNumber]
		if part == nil {
			refuse(w, 400, "InvalidPart")
			return
		}
		all.Write(part.b)
		sum, err := base64.StdEncoding.DecodeString(part.sum)
		if err != nil {
			panic(err) // a mistake in this file
		}
		sums.Write(sum)
	}
	o := f.object(all.Bytes(), u.id)
	sum := sha256.Sum256(sums.Bytes())
	o.sum = fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(sum[:]), len(request.Part))
	if f.put(w, r, key, o) {
		delete(f.uploads, r.URL.Query().Get("uploadId"))
		reply(w, struct {
			XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
			ETag    string
		}{ETag: o.etag})
	}
}
