package testservers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3Server is a server that speaks the S3 protocol.
type S3Server struct {
	*Process
	// AccessKey and SecretKey are its administrator's.
	AccessKey, SecretKey string
	// Region is the one that requests are signed for.
	Region  string
	buckets atomic.Int64
}

// KMSKey is the key that a MinIO encrypts with when it is asked to.
const KMSKey = "millrace-key"

// MinIO is the MinIO that all tests of this binary share (word: s3). Its conditional
// writes are atomic; it syncs what it writes.
func MinIO(t testing.TB) *S3Server {
	t.Helper()
	return shared(t, "s3", []string{"minio"}, "minio", startMinIO(nil))
}

// NewMinIO is a MinIO of the test's own (word: s3). Environ is added to its environment, like
// "MINIO_DOMAIN=localhost".
func NewMinIO(t testing.TB, environ ...string) *S3Server {
	t.Helper()
	return own(t, "s3", []string{"minio"}, startMinIO(environ))
}

// VersityGW is the versitygw that all tests of this binary share, on a folder (word: s3).
// Its conditional writes are atomic.
func VersityGW(t testing.TB) *S3Server {
	t.Helper()
	return shared(t, "s3", []string{"versitygw"}, "versitygw", startVersityGW)
}

// Moto is the moto that all tests of this binary share (word: moto). Its conditional
// writes are NOT atomic: of several writers at once, several may win.
func Moto(t testing.TB) *S3Server {
	t.Helper()
	return shared(t, "moto", []string{"moto"}, "moto", startMoto)
}

// S3SFS is the s3s-fs that all tests of this binary share (word: s3s-fs). Its conditional
// writes are NOT atomic.
func S3SFS(t testing.TB) *S3Server {
	t.Helper()
	return shared(t, "s3s-fs", []string{"s3s-fs"}, "s3s-fs", startS3SFS)
}

func startMinIO(environ []string) func([]installation) (*S3Server, error) {
	return func(i []installation) (*S3Server, error) {
		s, _, data, err := newS3("MinIO", i[0].version)
		if err != nil {
			return nil, err
		}
		return s.started(func() *exec.Cmd {
			command := exec.Command(i[0].program("minio"), "server", "--quiet", "--address", s.Addr, "--console-address",
				"127.0.0.1:0", data)
			command.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
				"MINIO_KMS_SECRET_KEY="+KMSKey+":bWlsbHJhY2UtbWlsbHJhY2UtbWlsbHJhY2UtMTIzNDU=",
				"MINIO_FS_OSYNC=on", "MINIO_UPDATE=off", "MINIO_BROWSER=off", "MINIO_CALLHOME_ENABLE=off", "HOME="+s.Dir)
			command.Env = append(command.Env, environ...)
			return command
		})
	}
}

func startVersityGW(i []installation) (*S3Server, error) {
	s, _, data, err := newS3("versitygw", i[0].version)
	if err != nil {
		return nil, err
	}
	return s.started(func() *exec.Cmd {
		command := exec.Command(i[0].program("versitygw"), "--quiet", "--port", s.Addr, "posix", data)
		command.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
		return command
	})
}

func startMoto(i []installation) (*S3Server, error) {
	s, port, _, err := newS3("moto", i[0].version)
	if err != nil {
		return nil, err
	}
	return s.started(func() *exec.Cmd {
		return exec.Command(i[0].program("moto_server"), "-H", "127.0.0.1", "-p", fmt.Sprint(port))
	})
}

func startS3SFS(i []installation) (*S3Server, error) {
	s, port, data, err := newS3("s3s-fs", i[0].version)
	if err != nil {
		return nil, err
	}
	return s.started(func() *exec.Cmd {
		return exec.Command(i[0].program("s3s-fs"), "--host", "127.0.0.1", "--port", fmt.Sprint(port),
			"--access-key", s.AccessKey, "--secret-key", s.SecretKey, data)
	})
}

func newS3(name, version string) (s *S3Server, port int, data string, err error) {
	p, port, err := newProcess(name, version)
	if err != nil {
		return nil, 0, "", err
	}
	data = filepath.Join(p.Dir, "data")
	s = &S3Server{Process: p, AccessKey: "millrace", SecretKey: "millrace-secret", Region: "us-east-1"}
	return s, port, data, os.Mkdir(data, 0o777)
}

func (s *S3Server) started(command func() *exec.Cmd) (*S3Server, error) {
	s.command = command
	s.ready = func(ctx context.Context) error { return s.writes(ctx, s.Addr) }
	if err := s.Start(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// writes says whether the server takes an object: some say that they are ready a moment
// before they are.
func (s *S3Server) writes(ctx context.Context, addr string) error {
	client := s.client(addr)
	const bucket = "ready"
	if _, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(bucket)}); err != nil {
		if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
			return err
		}
	}
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("ready")})
	return err
}

// Endpoint is the server's URL.
func (s *S3Server) Endpoint() string { return "http://" + s.Addr }

// Bucket creates a bucket for the test and gives its name. It stays: the server's data go with the server.
func (s *S3Server) Bucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test-%d-%d", os.Getpid(), s.buckets.Add(1))
	if _, err := s.client(s.Addr).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
		t.Fatalf("%s: create a bucket: %v", s, err)
	}
	return name
}

// client is for this package's own few requests.
func (s *S3Server) client(addr string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint:     aws.String("http://" + addr),
		Region:           s.Region,
		UsePathStyle:     true,
		Credentials:      credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		RetryMaxAttempts: 1,
		HTTPClient: &http.Client{Timeout: 10 * time.Second,
			Transport: &http.Transport{DisableKeepAlives: true}},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}
