//go:build !goexperiment.runtimesecret || !linux || !(amd64 || arm64)

package secret

// Erases tells whether Scope erases: in builds with GOEXPERIMENT=runtimesecret on
// Linux, amd64 and arm64.
const Erases = false

// Scope runs f, which handles keys. Where Erases is true, the registers and the
// stack that f used are erased before Scope returns, and what f allocated when
// nothing refers to it any more.
func Scope(f func()) { f() }
