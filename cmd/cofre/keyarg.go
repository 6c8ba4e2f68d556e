package main

import (
	"encoding/base64"
	"errors"

	"github.com/spf13/pflag"
)

// A keyArg decodes the keys that stand on the command line.
type keyArg struct{ base64 bool }

func (k *keyArg) flag(f *pflag.FlagSet) {
	f.BoolVar(&k.base64, "base64", false, "keys on the command line are base64, as \"key_b64\" in JSON is")
}

func (k *keyArg) bytes(arg string) ([]byte, error) {
	if !k.base64 {
		return []byte(arg), nil
	}
	b, err := base64.StdEncoding.DecodeString(arg)
	if err != nil {
		return nil, &usageError{errors.New("--base64: a key is not base64")}
	}
	return b, nil
}
