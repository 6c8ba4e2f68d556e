package system

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/bench/internal/ctrfs"
)

var ctrKind = Kind{
	Name: "pebble-ctr", Title: "Pebble + CTR", Module: pebbleModule,
	Compacts:  true,
	Encrypted: true,
	Options:   "as pebble, over AES-256-CTR without authentication, a nonce a file",
	Open: func(c Config) (System, error) {
		if err := claim(c.Dir, "pebble-ctr"); err != nil {
			return nil, err
		}
		key, err := loadKey(c.Dir, ctrfs.KeyLen)
		if err != nil {
			return nil, err
		}
		fs, err := ctrfs.New(vfs.Default, key)
		if err != nil {
			return nil, err
		}
		return openPebble(c, fs)
	},
}
