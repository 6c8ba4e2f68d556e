//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// device names the device that holds an existing path.
func device(_ string, info os.FileInfo) (string, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return fmt.Sprint(st.Dev), true
}

// syncDir makes a renaming in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
