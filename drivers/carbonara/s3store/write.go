package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"millrace/drivers/carbonara"
)

// Put is one PUT.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := fits(name, data); err != nil {
		return err
	}
	if _, err := s.put(ctx, s.object(name, data)); err != nil {
		return fmt.Errorf("put %s into %s: %w", name, s.config.Bucket, s.explain(err))
	}
	return nil
}

// Swap is one PUT on a condition, and a GET when the server says that it doesn't hold.
func (s *Store) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	_ []carbonara.Addition) (carbonara.Version, error) {
	if err := fits(name, data); err != nil {
		return "", err
	}
	object := s.object(name, data)
	if old == "" {
		object.IfNoneMatch = aws.String("*")
	} else {
		object.IfMatch = aws.String(string(old))
	}
	version, err := s.put(ctx, object)
	if err == nil {
		return version, nil
	}
	if refused := refusal(err); refused != notRefused {
		version, err = s.refused(ctx, name, old, data, refused, err)
	}
	if err != nil {
		err = fmt.Errorf("swap %s in %s: %w", name, s.config.Bucket, s.explain(err))
	}
	return version, err
}

// refused finds out what a refusal of a swap means: see the package's comment.
func (s *Store) refused(ctx context.Context, name string, old carbonara.Version, data []byte, how refused,
	cause error) (carbonara.Version, error) {
	if how == refusedMissing && old != "" {
		return "", carbonara.ErrChanged // there is no object
	}
	now, err := s.Read(ctx, name, "", nil)
	switch {
	case err == nil && bytes.Equal(now.Data[0], data):
		return now.Version, nil // a repetition below us has met what we wrote
	case err == nil && now.Version != old, errors.Is(err, carbonara.ErrNotFound) && old != "":
		return "", carbonara.ErrChanged
	case err != nil && !errors.Is(err, carbonara.ErrNotFound):
		return "", fmt.Errorf("%w; and then: %w", cause, err)
	}
	return "", cause // it is as we knew it, and was refused all the same
}

// put makes the request.
func (s *Store) put(ctx context.Context, object *s3.PutObjectInput) (carbonara.Version, error) {
	ctx, cancel := s.bounded(ctx, aws.ToInt64(object.ContentLength))
	defer cancel()
	done, err := s.enter(ctx)
	if err != nil {
		return "", err
	}
	answer, err := s.client.PutObject(ctx, object)
	done(err)
	if err != nil {
		return "", err
	}
	if aws.ToString(answer.ETag) == "" {
		return "", errors.New("the answer to a PUT has no ETag")
	}
	return carbonara.Version(*answer.ETag), nil
}

func (s *Store) object(name string, data []byte) *s3.PutObjectInput {
	object := &s3.PutObjectInput{
		Bucket: &s.config.Bucket, Key: s.key(name), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
		ServerSideEncryption: types.ServerSideEncryption(s.config.Encryption),
		StorageClass:         types.StorageClass(s.config.StorageClass),
	}
	if s.config.KMSKey != "" {
		object.SSEKMSKeyId = &s.config.KMSKey
	}
	if s.config.crc32c() {
		object.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c
	}
	return object
}

// fits says whether an object is as small as it has to be.
func fits(name string, data []byte) error {
	if len(data) > maxObject {
		return fmt.Errorf("%s has %d bytes, and an object may have %d", name, len(data), maxObject)
	}
	return nil
}

// Delete is one request, whatever the number of names.
func (s *Store) Delete(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if len(names) > deleteBatch {
		return fmt.Errorf("delete %d objects: %d at once are allowed", len(names), deleteBatch)
	}
	request := &s3.DeleteObjectsInput{Bucket: &s.config.Bucket, Delete: &types.Delete{Quiet: aws.Bool(true)}}
	for _, name := range names {
		request.Delete.Objects = append(request.Delete.Objects, types.ObjectIdentifier{Key: s.key(name)})
	}
	ctx, cancel := s.bounded(ctx, maxObject)
	defer cancel()
	done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	// Some servers insist on the older of two checksums; the SDK sends the newer.
	answer, err := s.client.DeleteObjects(ctx, request, s3.WithAPIOptions(smithyhttp.AddContentChecksumMiddleware))
	done(err)
	if err != nil {
		return fmt.Errorf("delete %d objects (%s, …) in %s: %w", len(names), names[0], s.config.Bucket, s.explain(err))
	}
	var failed []types.Error
	for _, e := range answer.Errors {
		if aws.ToString(e.Code) != "NoSuchKey" {
			failed = append(failed, e)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("delete %d objects in %s: %d are left, the first of them %s: %s: %s", len(names), s.config.Bucket,
			len(failed), aws.ToString(failed[0].Key), aws.ToString(failed[0].Code), aws.ToString(failed[0].Message))
	}
	return nil
}
