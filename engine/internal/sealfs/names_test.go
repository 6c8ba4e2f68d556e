package sealfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]fileName{
		"000007.sst":                             {classTable, keyring.KindSSTable, 7},
		"000007.blob":                            {classTable, keyring.KindBlob, 7},
		"1234567.sst":                            {classTable, keyring.KindSSTable, 1234567},
		"000012.log":                             {classLog, keyring.KindWAL, 12},
		"MANIFEST-000001":                        {classManifest, keyring.KindManifest, 1},
		"OPTIONS-000003":                         {classOptions, keyring.KindOptions, 3},
		"temporary.000003.dbtmp":                 {classOptions, keyring.KindOptions, 3},
		"LOCK":                                   {class: classLock},
		"marker.manifest.000001.MANIFEST-000001": {class: classMarker},
		"marker.anything":                        {class: classMarker},
		"new-000012.log":                         {class: classPending},
		"new-MANIFEST-000001":                    {class: classPending},
		"7.sst":                                  {classTable, keyring.KindSSTable, 7}, // Pebble reads it so; checkName refuses it

		"":                         {},
		"CURRENT":                  {},
		"x.sst":                    {},
		".sst":                     {},
		"-1.sst":                   {},
		"+1.sst":                   {},
		" 1.sst":                   {},
		"1_0.sst":                  {},
		"0x1.sst":                  {},
		"000001.SST":               {},
		"000001.sst.bak":           {},
		"000001.ldb":               {},
		"000001-001.log":           {},
		"MANIFEST-":                {},
		"MANIFEST-1x":              {},
		"OPTIONS-":                 {},
		"temporary..dbtmp":         {},
		"temporary.1.dbtmpx":       {},
		"99999999999999999999.sst": {}, // more than 64 bits
		"archive":                  {},
	} {
		require.Equal(t, want, parseName(base), "%q", base)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, base := range []string{
		"000007.sst", "000007.blob", "1234567.sst", "000012.log", "MANIFEST-000001", "OPTIONS-000003",
		"temporary.000003.dbtmp", "LOCK", "marker.x", "new-000001.log", "notes.txt", "cofre.log", "x-1.log",
		"72057594037927936.sst", "snapshots",
	} {
		require.Empty(t, checkName(base), "%q", base)
	}
	for _, base := range []string{
		"7.sst", "0000007.sst", "7.blob", "12.log", "MANIFEST-1", "OPTIONS-3", "temporary.3.dbtmp",
		"000012-001.log", "12-1.log", "72057594037927937.sst", "18446744073709551615.log",
		"MANIFEST-18446744073709551615", "OPTIONS-9223372036854775808",
	} {
		require.NotEmpty(t, checkName(base), "%q", base)
	}
}

func TestParseMarker(t *testing.T) {
	t.Parallel()
	m, ok := parseMarker("marker.format-version.000011.024")
	require.True(t, ok)
	require.Equal(t, marker{"format-version", 11, "024"}, m)
	require.EqualValues(t, 24, parseFormat(m.value))
	m, ok = parseMarker("marker.manifest.000003.MANIFEST-000028")
	require.True(t, ok)
	require.Equal(t, marker{"manifest", 3, "MANIFEST-000028"}, m)
	m, ok = parseMarker("marker.a.1.b.c")
	require.True(t, ok)
	require.Equal(t, "b.c", m.value)
	for _, base := range []string{"", "marker", "marker.a", "marker.a.1", "marker.a.x.b", "marker.a.-1.b", "other.a.1.b"} {
		_, ok := parseMarker(base)
		require.False(t, ok, "%q", base)
	}
	require.Zero(t, parseFormat("x"))
	require.Zero(t, parseFormat("-1"))
}
