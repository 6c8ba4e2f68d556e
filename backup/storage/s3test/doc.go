// Package s3test gives tests S3 servers: a real one over the wire ([Start]), a
// small one in the process that can be told to break its promises ([Fake]), and
// a proxy that breaks what passes through it ([Proxy]). Only tests import it.
//
//	server := s3test.Start(t)
//	proxy := s3test.NewProxy(t, server.Endpoint)
//	s, err := s3.Open(t.Context(), s3.Options{
//		Endpoint: proxy.Endpoint, Bucket: server.NewBucket(t), PathStyle: true,
//		Credentials: server.Credentials(),
//	})
//
// The real server is versitygw. It is built from the Go module proxy the first
// time, which takes minutes, into the user's cache directory, and is no part of
// this module. Where it cannot be built its tests are skipped, with a word on
// why; with COFRE_REQUIRE_S3=1 in the environment they fail.
package s3test
