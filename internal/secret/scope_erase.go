//go:build goexperiment.runtimesecret && linux && (amd64 || arm64)

package secret

import "runtime/secret"

// Erases: this build does.
const Erases = true

// Scope runs f by [secret.Do]. The other build's comment says what that is for.
func Scope(f func()) { secret.Do(f) }
