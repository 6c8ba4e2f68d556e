package s3test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/backup/storage/lease"
)

// Version of the server that is built.
const Version = "v1.8.0"

const (
	accessKey = "cofre-test"
	secretKey = "cofre-test-secret"
	region    = "us-east-1"
)

// A Server is an S3 server that runs in a process of its own.
type Server struct {
	Endpoint string // URL
	// Dir is where it keeps buckets, as folders of files: for looking at what
	// is stored, and damaging it.
	Dir string
}

// Start starts a server on a free port of the loopback interface, which ends
// with the test. It skips the test where there is no server to be had.
func Start(t testing.TB) *Server {
	t.Helper()
	binary := program(t)
	var err error
	for range 3 { // another may have taken the port meanwhile
		s := &Server{Dir: t.TempDir()}
		if err = s.run(t, binary); err == nil {
			return s
		}
	}
	missing(t, "versitygw does not run: %v", err)
	return nil
}

// Credentials open the server.
func (s *Server) Credentials() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")
}

// Env is the environment by which a program finds the credentials, and nothing
// of the user's own.
func (s *Server) Env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + accessKey,
		"AWS_SECRET_ACCESS_KEY=" + secretKey,
		"AWS_REGION=" + region,
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// NewBucket makes a bucket.
func (s *Server) NewBucket(t testing.TB) string {
	t.Helper()
	name := "b" + strings.ToLower(rand.Text())
	if err := os.Mkdir(filepath.Join(s.Dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// Location is that of a bucket, or of a prefix in one, at an endpoint: the
// server's or a proxy's.
func Location(endpoint, bucket, prefix string) string {
	u := url.URL{Scheme: "s3", Host: bucket, Path: "/" + prefix}
	u.RawQuery = url.Values{"endpoint": {endpoint}, "region": {region}, "path-style": {"true"}}.Encode()
	return u.String()
}

func (s *Server) run(t testing.TB, binary string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	s.Endpoint = "http://" + addr
	var output bytes.Buffer
	cmd := exec.Command(binary, "--port", addr, "--access", accessKey, "--secret", secretKey, "--region", region,
		"--keep-alive", "--quiet", "posix", s.Dir)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"HOME=" + cmd.Dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // fails where it has ended
		<-ended
	})
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("it ended: %w: %s", err, output.Bytes())
		case <-deadline:
			stop()
			return fmt.Errorf("it does not listen: %s", output.Bytes())
		case <-ticker.C:
			if c, err := net.Dial("tcp", addr); err == nil {
				_ = c.Close() // nothing was sent
				t.Cleanup(stop)
				return nil
			}
		}
	}
}

// missing skips the test, or fails it where the server is demanded.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	why := fmt.Sprintf(format, args...)
	if os.Getenv("COFRE_REQUIRE_S3") == "1" {
		t.Fatalf("no S3 server: %s", why)
	}
	t.Skipf("NOT TESTED AGAINST A REAL S3 SERVER: %s", why)
}

var build struct {
	once sync.Once
	path string
	err  error
}

// buildTimeout bounds the build, which takes minutes on two cores.
const buildTimeout = 9 * time.Minute

// program is the path of the server's program.
func program(t testing.TB) string {
	t.Helper()
	if testing.Short() && os.Getenv("COFRE_REQUIRE_S3") != "1" {
		path, err := binaryPath()
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			missing(t, "versitygw was not built yet, which takes too long for -short: %v", err)
		}
	}
	build.once.Do(func() { build.path, build.err = buildProgram() })
	if build.err != nil {
		missing(t, "versitygw cannot be built: %v", build.err)
	}
	return build.path
}

func binaryPath() (string, error) {
	cache, err := os.UserCacheDir()
	name := "versitygw-" + Version
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(cache, "cofre-s3test", name), err
}

// buildProgram builds it once for all packages that are tested at the same
// time.
func buildProgram() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	path, err := binaryPath()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	s, err := dir.Open(filepath.Dir(path), dir.Options{Create: true})
	if err != nil {
		return "", err
	}
	defer s.Close()
	l, err := lease.Acquire(ctx, s, "build", lease.Options{Operation: "go install versitygw", Wait: true})
	if err != nil {
		return "", err
	}
	defer l.Release(context.WithoutCancel(ctx))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// Built beside and renamed: nobody starts a half of it.
	temp, err := os.MkdirTemp(filepath.Dir(path), "build")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	cmd := exec.CommandContext(ctx, "go", "install", "github.com/versity/versitygw/cmd/versitygw@"+Version)
	cmd.Dir = temp
	cmd.Env = append(os.Environ(), "GOBIN="+temp, "GOFLAGS=", "CGO_ENABLED=0", "GOOS=", "GOARCH=", "GOEXPERIMENT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	built := filepath.Join(temp, "versitygw")
	if runtime.GOOS == "windows" {
		built += ".exe"
	}
	return path, os.Rename(built, path)
}
