// Package s3 keeps objects in an S3 bucket: of AWS, or of any server that speaks
// its protocol.
//
//	o, err := s3.ParseLocation("s3://bucket/clinic?region=eu-west-1")
//	s, err := s3.Open(ctx, o)
//
// The bucket must be there. Credentials come by the usual chain of AWS's
// programs: environment, shared files and profiles, web identity, container,
// instance. They never stand in a location.
//
// # How an object is made
//
// One request, or several for objects larger than [Options.PartSize], whose
// parts become one object at once when all are there. Each request carries the
// SHA-256 of its body, signed, so that a server refuses a body that was cut or
// changed on the way; and a condition (If-None-Match: *), so that an object
// that is there is never changed. Each upload is named by a random id, kept in
// the object's metadata, by which it is told whose object lies there after an
// answer got lost.
//
// Then the server is asked what it has stored. Where the size is another, it is
// [storage.ErrDamaged]; where the server reports no SHA-256, or another, the
// object is read back and compared. A server that keeps no checksums so costs a
// download for each upload. What turns out damaged is deleted.
//
// # Registers
//
// They are swapped by a conditional put (If-Match with the ETag). The server
// must hold these conditions: AWS does since 2024, and so do versitygw and new
// versions of MinIO and Ceph, while others ignore them. storage.Check tells.
//
// # Faults
//
// What may go better is tried again, with a growing and random wait between
// two tries, [Options.Attempts] times. A connection on which nothing moves for
// [Options.Stall] counts as broken. A body that breaks off is fetched on from
// there, from the same object (If-Match).
//
// Memory is bounded: parts are read from their source as they are sent, twice
// each, and are not kept.
package s3
