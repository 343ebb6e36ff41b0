// Package s3store keeps the objects of a carbonara.Store in a bucket of S3, or of a
// server that speaks its protocol.
//
// A swap is a PUT with If-Match, or If-None-Match for an object that is new; a version is
// an ETag. That is as good as the server's word, so [Store.Probe] puts it to the test
// before anything is trusted to it: several writers at once, several times over, of whom
// one may win. Servers that check the condition first and write afterwards exist.
//
// # What answers mean
//
// Nothing here tries again what has failed; the SDK's own retries are off, and Go's
// transport repeats no PUT. A swap is certainly not done after a 404 (there is no such
// object) and after a 412, but for one case: a proxy below us that repeats requests makes
// a swap meet its own write. So after a 412 the object is read, and when it holds what we
// wrote, the swap has happened: what callers swap in is unique. A 409 says that the server
// was busy with the same object: not done, says AWS, but others have no such rule, so that
// its outcome is unknown, unless the object has changed. After anything else the outcome is
// unknown.
//
// # Integrity
//
// Requests carry a hash of their body, over plain HTTP as well, so that the server takes no
// damaged one. What is read whole is held against the MD5 that most ETags are; on AWS,
// CRC32C besides. Ranges have no checksum in S3: the format of segments has its own.
package s3store
