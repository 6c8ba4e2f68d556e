//go:build !unix

package engine

// kindAttacks need links and FIFOs.
func kindAttacks() []attack { return nil }
