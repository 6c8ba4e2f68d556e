//go:build !unix

package main

import "github.com/rogpeppe/go-internal/testscript"

// mkfifo FILE makes a named pipe, where there are any.
func mkfifo(ts *testscript.TestScript, _ bool, args []string) {
	ts.Fatalf("no named pipes here")
}
