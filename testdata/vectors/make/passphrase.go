package main

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/cofredb/cofre/internal/vectors"
)

// A cost of a key from a passphrase.
type cost struct {
	kdf  uint8
	t, m uint32
	p    uint8
}

var (
	argon = cost{1, 3, 65536, 4}
	pbk   = cost{2, 600000, 0, 0}
)

// passphraseKey pays for a derivation, once for each.
type passphraseKeys map[string][]byte

func (k passphraseKeys) key(phrase string, c cost, salt []byte) []byte {
	name := phrase + string(cat(c.kdf, c.t, c.m, c.p, salt))
	if k[name] == nil {
		if c.kdf == 1 {
			k[name] = argon2.IDKey([]byte(phrase), salt, c.t, c.m, c.p, 32)
		} else {
			k[name] = must(pbkdf2.Key(sha256.New, phrase, salt, int(c.t), 32))
		}
	}
	return k[name]
}

func passphrases(s *set) {
	g := s.group("passphrase", "docs/keyring-format.md#a-key-from-a-passphrase")
	keys := make(passphraseKeys)
	const phrase = "correct horse battery staple"
	salt, key, c := random("salt of the passphrase", 16), random("wrapped key", 32), contextOf(id("table"), 3)
	wrap := func(phrase string, co cost, c vectors.Context) []byte {
		k := keys.key(phrase, co, salt)
		wrapSalt := random("salt of the wrap "+phrase+string(canonical(c))+string(cat(co.kdf)), 16)
		head := cat(uint8(1), co.kdf, co.t, co.m, co.p, salt, derive(k, "cofre/v1/passphrase-check", nil, 16), wrapSalt)
		return cat(head, seal(derive(k, "cofre/v1/passphrase-wrap", wrapSalt, 32), key, cat(head, canonical(c))))
	}
	in := func(phrase string, w []byte, c vectors.Context) vectors.PassphraseIn {
		return vectors.PassphraseIn{Passphrase: vectors.Text(phrase), Wrap: w, Context: c}
	}
	valid := func(name, rule string, i vectors.PassphraseIn) { g.valid(name, rule, i, vectors.WrapOut{Key: key}) }
	a, p := wrap(phrase, argon, c), wrap(phrase, pbk, c)
	valid("argon2id", "Derivation 1 is Argon2id, here at its floor.", in(phrase, a, c))
	valid("pbkdf2", "Derivation 2 is PBKDF2-HMAC-SHA-256, here at its floor.", in(phrase, p, c))
	valid("store-key", "The store key is wrapped in the same way, and may share the salt of the passphrase.",
		in(phrase, wrap(phrase, pbk, contextOf(zeros16, 1)), contextOf(zeros16, 1)))
	bytes := "\xff\x00 not text"
	valid("passphrase-bytes", "A passphrase is bytes.", in(bytes, wrap(bytes, pbk, c), c))
	long := strings.Repeat("long ", 20)
	sum := sha256.Sum256([]byte(long))
	valid("pbkdf2-long", "PBKDF2 takes the SHA-256 of a passphrase of more than 64 bytes for it.", in(string(sum[:]), wrap(long, pbk, c), c))

	bad := func(name, rule, class string, i vectors.PassphraseIn) { g.invalid(name, rule, class, -1, i) }
	blob := func(name, rule, class string, w []byte) { bad(name, rule, class, in(phrase, w, c)) }
	blob("nothing", "A wrap is 119 bytes long.", "ErrFormat", nil)
	blob("cut", "A wrap that was cut does not parse.", "ErrFormat", p[:118])
	blob("appended", "No byte follows a wrap.", "ErrFormat", cat(p, uint8(0)))
	blob("format-0", "There is no format 0.", "ErrVersion", put(p, 0, uint8(0)))
	blob("format-2", "An unknown format is refused as an unknown version.", "ErrVersion", put(p, 0, uint8(2)))
	blob("derivation-0", "There is no derivation 0.", "ErrFormat", put(p, 1, uint8(0)))
	blob("derivation-3", "There is no derivation 3.", "ErrFormat", put(p, 1, uint8(3)))
	atCost := func(name, rule string, w []byte, c cost) {
		blob(name, rule, "ErrFormat", put(w, 1, c.kdf, c.t, c.m, c.p))
	}
	atCost("argon2id-t-low", "Argon2id takes at least 3 passes.", a, cost{1, 2, 65536, 4})
	atCost("argon2id-t-high", "Argon2id takes at most 16 passes.", a, cost{1, 17, 65536, 4})
	atCost("argon2id-m-low", "Argon2id takes at least 65536 KiB.", a, cost{1, 3, 65535, 4})
	atCost("argon2id-m-high", "Argon2id takes at most 2097152 KiB.", a, cost{1, 3, 2097153, 4})
	atCost("argon2id-m-huge", "A cost is refused before anything is derived or allocated.", a, cost{1, 3, 1<<32 - 1, 4})
	atCost("argon2id-p-low", "Argon2id has at least 4 lanes.", a, cost{1, 3, 65536, 3})
	atCost("argon2id-p-high", "Argon2id has at most 16 lanes.", a, cost{1, 3, 65536, 17})
	atCost("pbkdf2-low", "PBKDF2 takes at least 600000 rounds.", p, cost{2, 599999, 0, 0})
	atCost("pbkdf2-high", "PBKDF2 takes at most 10000000 rounds.", p, cost{2, 10000001, 0, 0})
	atCost("pbkdf2-0", "PBKDF2 takes rounds.", p, cost{2, 0, 0, 0})
	atCost("pbkdf2-m", "PBKDF2 has no memory.", p, cost{2, 600000, 1, 0})
	atCost("pbkdf2-p", "PBKDF2 has no lanes.", p, cost{2, 600000, 0, 1})
	atCost("downgraded", "A cost of Argon2id is none of PBKDF2: changing the derivation alone does not cheapen it.", a, cost{2, 3, 65536, 4})
	bad("wrong-passphrase", "A wrong passphrase shows in the check value, and is denied.", "ErrKeyDenied", in("Correct horse battery staple", p, c))
	bad("wrong-passphrase-argon2id", "A wrong passphrase is denied under Argon2id too.", "ErrKeyDenied", in("Correct horse battery staple", a, c))
	blob("check", "The check value is compared.", "ErrKeyDenied", flip(p, 27))
	blob("check-end", "The check value is compared whole.", "ErrKeyDenied", flip(p, 42))
	blob("salt", "The salt of the passphrase enters the key, so the check value differs.", "ErrKeyDenied", flip(p, 11))
	blob("rounds", "The rounds enter the key.", "ErrKeyDenied", put(p, 2, uint32(600001)))
	blob("wrap-salt", "The salt of the wrap enters the wrapping key.", "ErrWrongContext", flip(p, 43))
	blob("nonce", "A changed nonce does not open.", "ErrWrongContext", flip(p, 59))
	blob("text", "A changed text does not open.", "ErrWrongContext", flip(p, 71))
	blob("tag", "A changed tag does not open.", "ErrWrongContext", flip(p, 118))
	context := func(name, rule string, change func(*vectors.Context)) {
		o := c
		change(&o)
		bad(name, rule, "ErrWrongContext", in(phrase, p, o))
	}
	context("other-store", "The store is in the context.", func(c *vectors.Context) { c.StoreID = id("another store") })
	context("other-table", "The table is in the context.", func(c *vectors.Context) { c.TableID = id("another table") })
	context("other-purpose", "The purpose is in the context.", func(c *vectors.Context) { c.Purpose = "store-key" })
	context("other-version", "The version of the wrapped key is in the context.", func(c *vectors.Context) { c.Version = 2 })
}
