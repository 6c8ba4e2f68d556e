package main

import (
	"encoding/binary"
	"strings"

	"github.com/cofredb/cofre/internal/vectors"
)

// zstd is text as a compressed frame of one block that is not compressed.
func zstd(text string) string {
	n := len(text)
	b := cat("\x28\xb5\x2f\xfd", uint8(0x60)) // one segment, its size in 2 bytes, less 256
	b = binary.LittleEndian.AppendUint16(b, uint16(n-256))
	block := uint32(n)<<3 | 1 // raw, the last
	return string(cat(b, uint8(block), uint8(block>>8), uint8(block>>16), text))
}

func entryOf(key, value string) vectors.ImportResult {
	return vectors.ImportResult{Key: vectors.Text(key), Value: vectors.Text(value)}
}

func badLine(n int) vectors.ImportResult { return vectors.ImportResult{BadLine: n} }

// importer adds vectors of an import format.
type importer struct {
	*group
	key      string
	max, val int
}

func (i importer) add(name, rule, input string, fault *vectors.Fault, results ...vectors.ImportResult) {
	if results == nil {
		results = []vectors.ImportResult{}
	}
	var out any = vectors.ImportOut{Results: results}
	i.group.add(name, rule, vectors.ImportIn{Key: i.key, MaxKey: i.max, MaxValue: i.val, Input: vectors.Text(input)}, out, fault)
}

func (i importer) takes(name, rule, input string, results ...vectors.ImportResult) {
	i.add(name, rule, input, nil, results...)
}

// ends is an input that cannot be read on.
func (i importer) ends(name, rule, input string, results ...vectors.ImportResult) {
	i.add(name, rule, input, fault("ErrInput", -1), results...)
}

func imports(s *set) {
	const page = "cmd/cofre/internal/records/records.go"
	csv(importer{s.group("csv", page), "id", 16, 128})
	jsonl(importer{s.group("jsonl", page), "id", 16, 128})
	export(importer{s.group("export", page), "", 16, 128})
}

func csv(g importer) {
	one := entryOf("1", `{"id":"1","name":"Ana"}`)
	two := entryOf("2", `{"id":"2","name":"Rui"}`)
	g.takes("typical", "The value is a JSON object of the row, its fields in the header's order.", "id,name\n1,Ana\n2,Rui\n", one, two)
	g.takes("key-second", "The key is a named column, wherever it stands.", "name,id\nAna,1\n", entryOf("1", `{"name":"Ana","id":"1"}`))
	g.takes("header-alone", "A header without rows holds nothing.", "id,name\n")
	g.takes("no-last-newline", "The last row need not end with a newline.", "id,name\n1,Ana", one)
	g.takes("crlf", "A line may end with CR LF.", "id,name\r\n1,Ana\r\n", one)
	g.takes("byte-order-mark", "A byte order mark is dropped.", "\ufeffid,name\n1,Ana\n", one)
	g.takes("quoted", "A quoted field may hold commas, newlines and doubled quotes.", "id,name\n1,\"a,\n\"\"b\"\"\"\n", entryOf("1", `{"id":"1","name":"a,\n\"b\""}`))
	g.takes("blank-lines", "Blank lines are passed over.", "\nid,name\n\n1,Ana\n\n\n2,Rui\n\n", one, two)
	g.takes("empty-field", "A field may be empty.", "id,name\n1,\n", entryOf("1", `{"id":"1","name":""}`))
	g.takes("empty-column-name", "A column may have an empty name, if no other has.", "id,\n1,x\n", entryOf("1", `{"id":"1","":"x"}`))
	g.takes("control", "Control characters are escaped in the value.", "id,name\n1,\x01\t\x7f\u0085\n", entryOf("1", `{"id":"1","name":"\u0001\t\u007f\u0085"}`))
	g.takes("not-escaped", "Other characters stand as they are.", "id,name\n1,é<&>\u2028\n", entryOf("1", `{"id":"1","name":"é<&>`+"\u2028"+`"}`))
	g.takes("key-longest", "A key may be as long as the limit.", "id\nkkkkkkkkkkkkkkkk\n", entryOf("kkkkkkkkkkkkkkkk", `{"id":"kkkkkkkkkkkkkkkk"}`))
	value := strings.Repeat("v", 128-len(`{"id":"1","v":""}`))
	g.takes("value-longest", "A value may be as long as the limit.", "id,v\n1,"+value+"\n", entryOf("1", `{"id":"1","v":"`+value+`"}`))
	long := "id,name\n" + strings.Repeat("1,Ana\n", 60)
	all := make([]vectors.ImportResult, 60)
	for i := range all {
		all[i] = one
	}
	g.takes("compressed", "What begins as a zstd frame is decompressed.", zstd(long), all...)

	g.takes("fields-fewer", "A row has as many fields as the header: one that has fewer is refused, and the next is taken.", "id,name\n1\n2,Rui\n", badLine(2), two)
	g.takes("fields-more", "A row with more fields is refused.", "id,name\n1,Ana,x\n2,Rui\n", badLine(2), two)
	g.takes("line-of-record", "The line of a refused row is where it begins, behind fields of several lines.", "id,name\n1,\"a\nb\"\n2\n",
		entryOf("1", `{"id":"1","name":"a\nb"}`), badLine(4))
	g.takes("bare-quote", "A quote inside a field that is not quoted is refused.", "id,name\n1,a\"b\n2,Rui\n", badLine(2), two)
	g.takes("quote-open", "A quote that is never closed is refused, in the line where the input ends.", "id,name\n1,Ana\n2,\"a\n3,b\n", one, badLine(4))
	g.takes("not-utf8", "A field that is not UTF-8 is refused.", "id,name\n1,\xff\n2,Rui\n", badLine(2), two)
	g.takes("key-empty", "A key has at least one byte.", "id,name\n,Ana\n2,Rui\n", badLine(2), two)
	g.takes("key-long", "A key longer than the limit is refused.", "id,name\nkkkkkkkkkkkkkkkkk,Ana\n2,Rui\n", badLine(2), two)
	g.takes("value-long", "A value longer than the limit is refused.", "id,v\n1,"+value+"v\n", badLine(2))

	g.ends("empty", "An input without a header is refused.", "")
	g.ends("no-column", "A header without the key's column is refused.", "ID,name\n1,Ana\n")
	g.ends("column-twice", "No two columns have one name.", "id,x,x\n1,2,3\n")
	g.ends("header-not-utf8", "A header is UTF-8.", "id,\xff\n1,2\n")
	g.ends("header-quote", "A header is CSV.", "id,\"a\"b\"\n1,2\n")
	g.ends("compressed-cut", "A compressed input that is cut does not end as a whole one.", zstd(long)[:15])
}

func jsonl(g importer) {
	a, b := entryOf("a", `{"id":"a"}`), entryOf("b", `{"id":"b"}`)
	const la, lb = "{\"id\":\"a\"}\n", "{\"id\":\"b\"}\n"
	nested := g
	nested.key = "user.id"
	g.takes("typical", "A JSON object a line; the value is the line without its end.", la+lb, a, b)
	g.takes("nothing", "An empty input holds nothing.", "")
	g.takes("no-last-newline", "The last line need not end with a newline.", `{"id":"a"}`, a)
	g.takes("crlf", "A line may end with CR LF, which is no part of the value.", "{\"id\":\"a\"}\r\n", a)
	g.takes("byte-order-mark", "A byte order mark is dropped.", "\ufeff"+la, a)
	g.takes("blank-lines", "Blank lines are passed over.", "\n  \n\t\r\n"+la+"\n\n"+lb, a, b)
	g.takes("spaces", "Space around and in an object is a part of the value.", " {\"id\": \"a\"} \n", entryOf("a", ` {"id": "a"} `))
	g.takes("number", "A number's own text is the key: it is not rounded.", "{\"id\":7.50}\n{\"id\":-0.0}\n{\"id\":1234567890123456}\n",
		entryOf("7.50", `{"id":7.50}`), entryOf("-0.0", `{"id":-0.0}`), entryOf("1234567890123456", `{"id":1234567890123456}`))
	g.takes("escapes", "A string is decoded for the key and left alone in the value.", `{"id":"\u00e9\n"}`+"\n", entryOf("é\n", `{"id":"\u00e9\n"}`))
	g.takes("surrogates", "A surrogate pair is one character.", `{"id":"\ud83d\ude00"}`+"\n", entryOf("😀", `{"id":"\ud83d\ude00"}`))
	g.takes("replacement-character", "U+FFFD may be a key where it was written.", `{"id":"\uFFFD"}`+"\n", entryOf("\ufffd", `{"id":"\uFFFD"}`))
	nested.takes("path", "The key may lie deeper: field names with dots between them.", `{"user":{"id":"a"},"id":"b"}`+"\n", entryOf("a", `{"user":{"id":"a"},"id":"b"}`))
	g.takes("duplicate-field", "Of two fields of one name the last counts.", `{"id":"b","id":"a"}`+"\n", entryOf("a", `{"id":"b","id":"a"}`))
	longest := `{"id":"a","v":"` + strings.Repeat("v", 128-17) + `"}`
	g.takes("value-longest", "A line may be as long as the limit of a value.", longest+"\n", entryOf("a", longest))
	g.takes("compressed", "What begins as a zstd frame is decompressed.", zstd(strings.Repeat("\n", 300)+la), a)

	refused := func(g importer, name, rule, line string) { g.takes(name, rule, line+"\n"+lb, badLine(1), b) }
	refused(g, "not-json", "A line that is not JSON is refused, and the next is taken.", "secret")
	refused(g, "cut", "A line that is cut is refused.", `{"id":"a"`)
	refused(g, "trailing", "Nothing but space follows the object.", `{"id":"a"} x`)
	refused(g, "two-objects", "A line holds one object.", `{"id":"a"}{"id":"b"}`)
	refused(g, "array", "A line is an object, not an array.", `["a"]`)
	refused(g, "null", "A line is an object, not null.", `null`)
	refused(g, "string", "A line is an object, not a string.", `"a"`)
	refused(g, "no-key", "A line without the key is refused.", `{}`)
	refused(g, "name-case", "Names of fields are exact.", `{"ID":"a"}`)
	refused(g, "key-null", "A key is a string or a number, not null.", `{"id":null}`)
	refused(g, "key-true", "A key is a string or a number, not true.", `{"id":true}`)
	refused(g, "key-object", "A key is a string or a number, not an object.", `{"id":{}}`)
	refused(g, "key-empty", "A key has at least one byte.", `{"id":""}`)
	refused(g, "key-long", "A key longer than the limit is refused.", `{"id":"kkkkkkkkkkkkkkkkk"}`)
	refused(g, "not-utf8", "A line that is not UTF-8 is refused.", "{\"id\":\"\xff\"}")
	refused(g, "half-surrogate", "Half a surrogate pair is refused: two keys could become one.", `{"id":"\ud800"}`)
	refused(g, "line-longer", "A line that is much longer than the limit is passed over.", strings.Repeat("x", 300))
	refused(g, "line-long", "A line longer than the limit of a value is refused.", longest+" ")
	nested.takes("path-missing", "A line without the deeper field is refused.", `{"user":{}}`+"\n", badLine(1))
	nested.takes("path-no-object", "A path leads through objects.", `{"user":["id"]}`+"\n", badLine(1))
	g.ends("compressed-cut", "A compressed input that is cut does not end as a whole one.", zstd(strings.Repeat(la, 40))[:15])
}

func export(g importer) {
	g.takes("typical", "A line holds a key and a value, as strings.", `{"key":"a","value":"b"}`+"\n", entryOf("a", "b"))
	g.takes("nothing", "An empty export holds nothing.", "")
	g.takes("base64", "What is no text is base64 under the name with _b64.", `{"key_b64":"/w==","value_b64":"AAEC"}`+"\n", entryOf("\xff", "\x00\x01\x02"))
	g.takes("mixed", "Key and value choose independently.", `{"key":"a","value_b64":"/w=="}`+"\n", entryOf("a", "\xff"))
	g.takes("value-empty", "A value may be empty.", `{"key":"a","value":""}`+"\n", entryOf("a", ""))
	g.takes("value-first", "The order of the fields does not count.", `{"value":"b","key":"a"}`+"\n", entryOf("a", "b"))
	g.takes("escapes", "Strings are JSON's.", `{"key":"\u0000","value":"\u001b\"\\\n"}`+"\n", entryOf("\x00", "\x1b\"\\\n"))
	g.takes("base64-of-text", "Text may be base64 too.", `{"key_b64":"YQ==","value_b64":""}`+"\n", entryOf("a", ""))
	g.takes("several", "An entry a line, blank lines passed over.", `{"key":"a","value":"1"}`+"\n\n"+`{"key":"b","value":"2"}`, entryOf("a", "1"), entryOf("b", "2"))
	g.takes("compressed", "What begins as a zstd frame is decompressed.", zstd(strings.Repeat("\n", 300)+`{"key":"a","value":"b"}`+"\n"), entryOf("a", "b"))
	g.takes("byte-order-mark", "A byte order mark is dropped.", "\ufeff"+`{"key":"a","value":"b"}`+"\n", entryOf("a", "b"))
	g.takes("value-longest", "A value may be as long as the limit.", `{"key":"a","value":"`+strings.Repeat("v", 128)+`"}`+"\n", entryOf("a", strings.Repeat("v", 128)))

	good := `{"key":"b","value":"2"}`
	refused := func(name, rule, line string) { g.takes(name, rule, line+"\n"+good+"\n", badLine(1), entryOf("b", "2")) }
	refused("one-field", "An entry has a key and a value.", `{"key":"a"}`)
	refused("three-fields", "An entry has nothing else.", `{"key":"a","value":"b","x":1}`)
	refused("both-forms", "A key has one form.", `{"key":"a","key_b64":"YQ=="}`)
	refused("name-case", "Names are exact.", `{"key":"a","Value":"b"}`)
	refused("key-number", "A key is a string.", `{"key":1,"value":"b"}`)
	refused("value-array", "Base64 is a string.", `{"key":"a","value_b64":["a"]}`)
	refused("half-surrogate", "Half a surrogate pair is refused.", `{"key":"a","value":"\udfff"}`)
	refused("base64-short", "Base64 is padded.", `{"key_b64":"YQ=","value":""}`)
	refused("base64-bits", "The unused bits of base64 are 0.", `{"key_b64":"YR==","value":""}`)
	refused("base64-url", "Base64 is of the standard alphabet.", `{"key_b64":"_w==","value":""}`)
	refused("key-empty", "A key has at least one byte.", `{"key":"","value":""}`)
	refused("key-long", "A key longer than the limit is refused.", `{"key":"kkkkkkkkkkkkkkkkk","value":""}`)
	refused("value-long", "A value longer than the limit is refused.", `{"key":"a","value":"`+strings.Repeat("v", 129)+`"}`)
	refused("not-json", "A line that is not JSON is refused, and the next is taken.", "secret")
	refused("not-utf8", "A line that is not UTF-8 is refused.", "{\"key\":\"\xff\",\"value\":\"\"}")
	refused("null", "A line is an object.", "null")
	g.ends("compressed-cut", "A compressed export that is cut does not end as a whole one.", zstd(strings.Repeat(good+"\n", 20))[:20])
}
