package s3store

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"millrace/drivers/carbonara"
)

// joinGap is how many bytes that nobody asked for are read to save a request.
const joinGap = 128 << 10

// Read is one GET for the whole of an object. Ranges that lie near each other share
// one, and all of them are read at once.
func (s *Store) Read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	c, err := s.read(ctx, name, unless, ranges)
	if err != nil && !errors.Is(err, carbonara.ErrUnchanged) && !errors.Is(err, carbonara.ErrNotFound) {
		err = fmt.Errorf("read %s of %s: %w", name, s.config.Bucket, s.explain(err))
	}
	return c, err
}

func (s *Store) read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	if len(ranges) == 0 {
		return s.readAll(ctx, name, unless)
	}
	spans := join(ranges)
	pieces := make([]piece, len(spans))
	group, each := errgroup.WithContext(ctx)
	for i, span := range spans {
		group.Go(func() (err error) {
			pieces[i], err = s.get(each, name, unless, span.header())
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return carbonara.Contents{}, err
	}
	c := carbonara.Contents{Data: make([][]byte, len(ranges)), Size: pieces[0].size, Version: pieces[0].version}
	for i, p := range pieces {
		if p.version != c.Version || p.size != c.Size {
			return carbonara.Contents{}, errors.New("the object changed while its ranges were read")
		}
		for _, at := range spans[i].wanted {
			c.Data[at] = p.cut(ranges[at])
			if len(spans[i].wanted) > 1 { // they may overlap, and each is the caller's
				c.Data[at] = bytes.Clone(c.Data[at])
			}
		}
	}
	return c, nil
}

// tornReads is how often the whole of an object is asked for whose answer contradicts itself.
const tornReads = 3

// readAll reads a whole object. A server on a file system may answer with one version's bytes
// and another's ETag while the object is swapped (versitygw does): that is no failure, and
// what it says a moment later is whole.
func (s *Store) readAll(ctx context.Context, name string, unless carbonara.Version) (carbonara.Contents, error) {
	for try := 1; ; try++ {
		p, err := s.get(ctx, name, unless, "")
		if err != nil {
			return carbonara.Contents{}, err
		}
		if err = p.verify(); err == nil {
			return carbonara.Contents{Data: [][]byte{p.data}, Size: p.size, Version: p.version}, nil
		}
		if try == tornReads {
			return carbonara.Contents{}, err
		}
	}
}

// A span is what one request asks for: ranges near each other, or one from the end.
type span struct {
	from, to int64 // to is beyond the last; from is negative for the last -from bytes
	wanted   []int // indices of the ranges
}

func (s span) header() string {
	if s.from < 0 {
		return fmt.Sprintf("bytes=%d", s.from)
	}
	return fmt.Sprintf("bytes=%d-%d", s.from, s.to-1)
}

// join puts ranges together whose gaps are small.
func join(ranges []carbonara.Range) []span {
	order := make([]int, len(ranges))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return int(max(-1, min(1, ranges[a].Off-ranges[b].Off)))
	})
	var spans []span
	tail := span{}
	for _, i := range order {
		r := ranges[i]
		length := max(r.Len, 1) // a range of nothing tells how large the object is
		if r.Off < 0 {
			tail.from = min(tail.from, -length)
			tail.wanted = append(tail.wanted, i)
			continue
		}
		end := r.Off + length
		if end < r.Off { // beyond what numbers can say
			end = 1<<63 - 1
		}
		if last := len(spans) - 1; last >= 0 && r.Off-spans[last].to <= joinGap {
			spans[last].to = max(spans[last].to, end)
			spans[last].wanted = append(spans[last].wanted, i)
			continue
		}
		spans = append(spans, span{from: r.Off, to: end, wanted: []int{i}})
	}
	if tail.from < 0 {
		spans = append(spans, tail)
	}
	return spans
}

// A piece is the answer to one request.
type piece struct {
	data    []byte
	off     int64 // of data in the object
	size    int64 // of the object
	version carbonara.Version
	sealed  bool // encrypted by the server: its ETag may look like an MD5 and be none
}

// cut is what a range has of a piece.
func (p piece) cut(r carbonara.Range) []byte {
	from, length := r.Off, r.Len
	if from < 0 {
		from = max(0, p.size-length)
	}
	from = min(max(from-p.off, 0), int64(len(p.data)))
	to := from + min(max(length, 0), int64(len(p.data))-from)
	return p.data[from:to]
}

// verify holds a whole object against its ETag, where that is the object's MD5: AWS promises
// so of what is not encrypted with a key of KMS or of the client's, and others of less.
func (p piece) verify() error {
	tag := strings.Trim(string(p.version), `"`)
	if p.sealed || len(tag) != md5.Size*2 || strings.Trim(tag, "0123456789abcdef") != "" {
		return nil
	}
	sum := md5.Sum(p.data)
	if got := hex.EncodeToString(sum[:]); got != tag {
		return fmt.Errorf("the answer is damaged: its MD5 is %s, and the object's %s", got, tag)
	}
	return nil
}

// get makes one request. Header is that of a range, or empty.
func (s *Store) get(ctx context.Context, name string, unless carbonara.Version, header string) (piece, error) {
	request := &s3.GetObjectInput{Bucket: &s.config.Bucket, Key: s.key(name)}
	if unless != "" {
		request.IfNoneMatch = aws.String(string(unless))
	}
	if header != "" {
		request.Range = &header
	} else if s.config.crc32c() {
		request.ChecksumMode = types.ChecksumModeEnabled
	}
	ctx, cancel := s.bounded(ctx, maxObject)
	defer cancel()
	done, err := s.enter(ctx)
	if err != nil {
		return piece{}, err
	}
	answer, err := s.client.GetObject(ctx, request)
	if err != nil {
		done(err)
		switch {
		case statusOf(err) == http.StatusNotModified:
			return piece{}, carbonara.ErrUnchanged
		case isMissing(err):
			return piece{}, carbonara.ErrNotFound
		case statusOf(err) == http.StatusRequestedRangeNotSatisfiable:
			return s.beyond(ctx, name)
		}
		return piece{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	p := piece{
		version: carbonara.Version(aws.ToString(answer.ETag)),
		sealed:  answer.ServerSideEncryption != "" || answer.SSECustomerAlgorithm != nil,
	}
	p.data, err = readBody(answer.Body, aws.ToInt64(answer.ContentLength))
	done(err)
	if err != nil {
		return piece{}, err
	}
	p.size = int64(len(p.data))
	if answer.ContentRange != nil {
		if p.off, p.size, err = parseContentRange(*answer.ContentRange, int64(len(p.data))); err != nil {
			return piece{}, err
		}
	}
	if p.version == "" {
		return piece{}, errors.New("the answer to a GET has no ETag")
	}
	return p, nil
}

// beyond is the answer to ranges that begin behind an object's end.
func (s *Store) beyond(ctx context.Context, name string) (piece, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return piece{}, err
	}
	answer, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.config.Bucket, Key: s.key(name)})
	done(err)
	switch {
	case err != nil && isMissing(err):
		return piece{}, carbonara.ErrNotFound
	case err != nil:
		return piece{}, err
	}
	size := aws.ToInt64(answer.ContentLength)
	return piece{off: size, size: size, version: carbonara.Version(aws.ToString(answer.ETag))}, nil
}

// readBody reads a body of a length that is known.
func readBody(body io.Reader, length int64) ([]byte, error) {
	if length < 0 || length > maxObject {
		return nil, fmt.Errorf("the answer has %d bytes, and an object may have %d", length, maxObject)
	}
	data := make([]byte, length)
	if n, err := io.ReadFull(body, data); err != nil {
		return nil, fmt.Errorf("the answer ends after %d of %d bytes: %w", n, length, err)
	}
	return data, nil
}

// parseContentRange reads "bytes 10-19/200", the answer to a range.
func parseContentRange(header string, length int64) (off, size int64, err error) {
	rest, ok := strings.CutPrefix(header, "bytes ")
	first, rest, ok1 := strings.Cut(rest, "-")
	last, total, ok2 := strings.Cut(rest, "/")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	size, err3 := strconv.ParseInt(total, 10, 64)
	if !ok || !ok1 || !ok2 || errors.Join(err1, err2, err3) != nil || from < 0 || to-from+1 != length || to >= size {
		return 0, 0, fmt.Errorf("an answer of %d bytes says that it is %q", length, header)
	}
	return from, size, nil
}

// List asks page by page.
func (s *Store) List(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	var list []carbonara.Object
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.config.Bucket,
		Prefix: s.key(prefix)})
	for pages.HasMorePages() {
		done, err := s.enter(ctx)
		if err != nil {
			return nil, err
		}
		each, cancel := s.bounded(ctx, maxObject)
		page, err := pages.NextPage(each)
		cancel()
		done(err)
		if err != nil {
			return nil, fmt.Errorf("list %s of %s: %w", prefix, s.config.Bucket, s.explain(err))
		}
		for _, object := range page.Contents {
			name := strings.TrimPrefix(aws.ToString(object.Key), s.config.Prefix)
			if strings.HasSuffix(name, "/") { // a folder, as some consoles make them
				continue
			}
			list = append(list, carbonara.Object{Name: name, Size: aws.ToInt64(object.Size),
				Modified: aws.ToTime(object.LastModified)})
		}
	}
	// not every server does
	slices.SortFunc(list, func(a, b carbonara.Object) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}
