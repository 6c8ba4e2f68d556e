package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"

	"github.com/cofredb/cofre/internal/vectors"
)

// A recoveryKey is the key pair of a seed: MLKEM768-P256 of draft-ietf-hpke-pq.
type recoveryKey struct {
	seed []byte
	pq   *mlkem.DecapsulationKey768
	t    *ecdh.PrivateKey
}

func newRecoveryKey(seed []byte) recoveryKey {
	b := sha3.SumSHAKE256(seed, 64+32) // the first 32 bytes after those of ML-KEM are a scalar, but for one seed in 2^32
	return recoveryKey{seed, must(mlkem.NewDecapsulationKey768(b[:64])), must(ecdh.P256().NewPrivateKey(b[64:]))}
}

func (k recoveryKey) public() []byte {
	return cat(k.pq.EncapsulationKey().Bytes(), k.t.PublicKey().Bytes())
}

func (k recoveryKey) fingerprint() []byte {
	sum := sha256.Sum256(k.public())
	return sum[:25]
}

// encapsulate gives the shared secret and the encapsulated key. What is random depends
// on the label.
func (k recoveryKey) encapsulate(label string) (secret, enc []byte) {
	pq, ctPQ, err := mlkemtest.Encapsulate768(k.pq.EncapsulationKey(), random("ML-KEM "+label, 32))
	check(err)
	e := must(ecdh.P256().NewPrivateKey(random("P-256 "+label, 32)))
	t, ctT := must(e.ECDH(k.t.PublicKey())), e.PublicKey().Bytes()
	sum := sha3.Sum256(cat(pq, t, ctT, k.t.PublicKey().Bytes(), "MLKEM768-P256"))
	return sum[:], cat(ctPQ, ctT)
}

// hpkeSeal is HPKE's first message in base mode: RFC 9180, 5.1 and 5.2.
func hpkeSeal(secret, info, additional, text []byte) []byte {
	suite := cat("HPKE", uint16(0x0050), uint16(0x0001), uint16(0x0002))
	extract := func(salt []byte, label string, ikm []byte) []byte {
		return must(hkdf.Extract(sha256.New, cat("HPKE-v1", suite, label, ikm), salt))
	}
	expand := func(prk []byte, label string, info []byte, n int) []byte {
		return must(hkdf.Expand(sha256.New, prk, string(cat(uint16(n), "HPKE-v1", suite, label, info)), n))
	}
	schedule := cat(uint8(0), extract(nil, "psk_id_hash", nil), extract(nil, "info_hash", info))
	prk := extract(secret, "secret", nil)
	gcm := must(cipher.NewGCM(must(aes.NewCipher(expand(prk, "key", schedule, 32)))))
	return gcm.Seal(nil, expand(prk, "base_nonce", schedule, 12), text, additional)
}

func recoveries(s *set) {
	g := s.group("recovery", "docs/keyring-format.md#a-recovery-key")
	k, key := newRecoveryKey(random("recovery seed", 32)), random("wrapped key", 32)
	wrap := func(k recoveryKey, c vectors.Context, info, head []byte) []byte {
		secret, enc := k.encapsulate("recovery")
		if head == nil {
			head = cat(uint8(1), k.fingerprint())
		}
		return cat(head, enc, hpkeSeal(secret, info, head, key))
	}
	c := contextOf(id("table"), 3)
	in := func(w []byte, c vectors.Context) vectors.RecoveryIn {
		return vectors.RecoveryIn{Seed: k.seed, Public: k.public(), Wrap: w, Context: c}
	}
	w := wrap(k, c, canonical(c), nil)
	g.valid("table-key", "The info is the canonical context, the additional data format and fingerprint.", in(w, c), vectors.WrapOut{Key: key})
	store := contextOf(zeros16, 1)
	g.valid("store-key", "The store key is wrapped in the same way.", in(wrap(k, store, canonical(store), nil), store), vectors.WrapOut{Key: key})
	bad := func(name, rule, class string, w []byte, c vectors.Context) {
		g.invalid(name, rule, class, -1, in(w, c))
	}
	bad("nothing", "A wrap is 1227 bytes long.", "ErrFormat", nil, c)
	bad("cut", "A wrap that was cut does not parse.", "ErrFormat", w[:1226], c)
	bad("appended", "No byte follows a wrap.", "ErrFormat", cat(w, uint8(0)), c)
	bad("format-0", "There is no format 0.", "ErrVersion", put(w, 0, uint8(0)), c)
	bad("format-2", "An unknown format is refused as an unknown version.", "ErrVersion", put(w, 0, uint8(2)), c)
	other := newRecoveryKey(random("another recovery seed", 32))
	bad("other-key", "A wrap for another recovery key is told by its fingerprint.", "ErrKeyNotFound", wrap(other, c, canonical(c), nil), c)
	bad("fingerprint", "A changed fingerprint is another key's.", "ErrKeyNotFound", flip(w, 1), c)
	bad("fingerprint-of-ours", "The fingerprint alone does not make a wrap ours.", "ErrWrongContext",
		wrap(other, c, canonical(c), cat(uint8(1), k.fingerprint())), c)
	bad("mlkem", "A changed ML-KEM ciphertext gives another secret.", "ErrWrongContext", flip(w, 26), c)
	bad("point", "What is no point of P-256 is no encapsulated key.", "ErrWrongContext", flip(w, 1178), c)
	bad("point-compressed", "A point is uncompressed.", "ErrWrongContext", put(w, 26+1088, uint8(2)), c)
	bad("text", "A changed text does not open.", "ErrWrongContext", flip(w, 1179), c)
	bad("tag", "A changed tag does not open.", "ErrWrongContext", flip(w, 1226), c)
	bad("no-info", "The context is the info, and no less.", "ErrWrongContext", wrap(k, c, nil, nil), c)
	context := func(name, rule string, change func(*vectors.Context)) {
		o := c
		change(&o)
		bad(name, rule, "ErrWrongContext", w, o)
	}
	context("other-store", "The store is in the context.", func(c *vectors.Context) { c.StoreID = id("another store") })
	context("other-table", "The table is in the context.", func(c *vectors.Context) { c.TableID = id("another table") })
	context("other-purpose", "The purpose is in the context.", func(c *vectors.Context) { c.Purpose = "store-key" })
	context("other-version", "The version of the wrapped key is in the context.", func(c *vectors.Context) { c.Version = 2 })
}

// symbols is base 32 as sheets have it, in groups.
func symbols(b []byte, group int) string {
	var groups []string
	for part := range slices.Chunk([]byte(base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(b)), group) {
		groups = append(groups, string(part))
	}
	return strings.Join(groups, "-")
}

func recoverySheets(s *set) {
	g := s.group("recovery-sheet", "docs/keyring-format.md#the-recovery-sheet")
	k := newRecoveryKey(random("recovery seed", 32))
	printed := "fingerprint: " + symbols(k.fingerprint(), 5)
	line := func(n int, part []byte) string {
		sum := sha256.Sum256(cat(prefixed("cofre/v1/recovery-sheet"), uint8(n), part))
		return fmt.Sprintf("key %d of 4: %s", n, symbols(cat(part, sum[:2]), 4))
	}
	lines := []string{printed}
	for n := range 4 {
		lines = append(lines, line(n+1, k.seed[8*n:8*n+8]))
	}
	sheet := func(lines ...string) vectors.SheetIn {
		return vectors.SheetIn{Text: vectors.Text(strings.Join(lines, "\n"))}
	}
	with := func(n int, line string) []string {
		c := slices.Clone(lines)
		c[n] = line
		return c
	}
	out := vectors.SheetOut{URI: "cofre-recovery:" + symbols(k.fingerprint(), 5), Seed: k.seed}
	valid := func(name, rule string, lines ...string) { g.valid(name, rule, sheet(lines...), out) }
	valid("fields", "Five lines are enough.", lines...)
	valid("title", "A sheet of version 1, and other text, in any place.",
		append([]string{"COFRE RECOVERY SHEET, version 1", "", "Keep it."}, append(slices.Clone(lines), "key words: none")...)...)
	valid("order", "Fields stand in any order.", lines[3], lines[0], lines[4], lines[1], lines[2])
	valid("capitals", "Capitals do not matter.", strings.ToLower(strings.Join(lines, "\n")))
	valid("hyphens", "Hyphens do not matter.", strings.ReplaceAll(strings.Join(lines, "\n"), "-", ""))
	valid("spaces", "Spaces and tabs do not matter, nor do carriage returns.", " \t"+strings.ReplaceAll(strings.Join(lines, " \r\n\t"), "-", " \t"))
	valid("of-4", "The count of the key lines may be missing.", strings.ReplaceAll(strings.Join(lines, "\n"), " of 4", ""))
	looks := slices.Clone(lines)
	for i, l := range looks {
		label, value, _ := strings.Cut(l, ":")
		looks[i] = label + ":" + strings.NewReplacer("0", "O", "1", []string{"I", "l"}[i%2]).Replace(value)
	}
	valid("look-alikes", "O is read as 0, I and L as 1.", looks...)

	bad := func(name, rule string, lines ...string) { g.invalid(name, rule, "ErrSheet", -1, sheet(lines...)) }
	bad("empty", "A sheet has its fields.", "")
	bad("no-fingerprint", "The fingerprint must be there.", lines[1:]...)
	bad("no-key-4", "Each part of the key must be there.", lines[:4]...)
	bad("twice", "No part of the key is there twice.", append(slices.Clone(lines), lines[1])...)
	bad("fingerprint-twice", "No fingerprint is there twice.", append(slices.Clone(lines), lines[0])...)
	bad("key-5", "There is no fifth part.", append(slices.Clone(lines), "key 5: "+strings.Repeat("0", 16))...)
	bad("version-2", "A sheet of a later version is refused.", append([]string{"cofre recovery sheet, version 2"}, lines...)...)
	part := slices.Clone(k.seed[:8])
	part[3] ^= 4
	wrong := line(1, part)
	at, symbol := strings.Index(lines[1], ":")+2, "7"
	if lines[1][at:at+1] == symbol {
		symbol = "8"
	}
	bad("typo", "The checksum of a line finds a typo.", with(1, lines[1][:at]+symbol+lines[1][at+1:])...)
	bad("exchanged", "The checksum covers the number of the line.",
		with(1, strings.Replace(lines[2], "key 2", "key 1", 1))...)
	bad("symbol", "U is no symbol.", with(1, lines[1][:len(lines[1])-1]+"U")...)
	bad("short", "A key line has 16 symbols, and no fewer.", with(1, lines[1][:len(lines[1])-1])...)
	bad("long", "A key line has 16 symbols, and no more.", with(1, lines[1]+"0")...)
	bad("fingerprint-short", "A fingerprint has 40 symbols.", with(0, printed[:len(printed)-1])...)
	bad("fingerprint-other", "The fingerprint is that of the key.",
		with(0, "fingerprint: "+symbols(newRecoveryKey(random("another recovery seed", 32)).fingerprint(), 5))...)
	bad("key-other", "A key with checksums that match, of another fingerprint.", with(1, wrong)...)
}
