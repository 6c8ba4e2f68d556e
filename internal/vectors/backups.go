package vectors

// LockboxIn is a lockbox, with the file of the local key service, and the URIs of the root
// keys that the configuration pins.
type LockboxIn struct {
	File       Hex      `json:"file"`
	KeyService Hex      `json:"key_service"`
	Roots      []string `json:"roots"`
}

// LockboxOut is what opens.
type LockboxOut struct {
	StoreID Hex       `json:"store_id"`
	Opened  OpenTable `json:"opened"`
}

// BackupIndexIn is the index of a table in a backup, and a lockbox that has its key.
type BackupIndexIn struct {
	LockboxIn `json:"lockbox"`
	Index     Hex `json:"index"`
}

// BackupIndexOut is what it says. Core, Table and Seal, and what files have besides a name,
// an id, a size and a digest, are those of a sealed one.
type BackupIndexOut struct {
	Sealed      bool         `json:"sealed"`
	StoreID     Hex          `json:"store_id"`
	TableID     Hex          `json:"table_id"`
	Incarnation Hex          `json:"incarnation"`
	Time        int64        `json:"time,string"`
	At          int64        `json:"at,string"`
	Backup      string       `json:"backup"`
	KeyVersion  uint32       `json:"key_version"`
	Files       []BackupFile `json:"files"`
	Core        Hex          `json:"core,omitempty"`
	Table       Text         `json:"table,omitempty"`
	Seal        Hex          `json:"seal,omitempty"`
}

// A BackupFile is a file of a table in a backup.
type BackupFile struct {
	Name     Text      `json:"name"`
	FileID   Hex       `json:"file_id"`
	Size     int64     `json:"size,string"`
	Digest   Hex       `json:"digest"`
	DataKeys []DataKey `json:"data_keys,omitempty"` // FileID is what the key was made for
	Smallest Hex       `json:"smallest,omitempty"`
	Largest  Hex       `json:"largest,omitempty"`
}

// BackupManifestIn is the manifest of a backup, and the backup's name.
type BackupManifestIn struct {
	Name     string `json:"name"`
	Manifest Text   `json:"manifest"`
}

// BackupManifestOut is the digest that sealed indexes have of it, and for each table the
// versions of its key that a restore takes.
type BackupManifestOut struct {
	Core   Hex        `json:"core"`
	Needed [][]uint32 `json:"needed"`
}

// BackupNameIn is the name of an object in a repository.
type BackupNameIn struct {
	Name string `json:"name"`
}

// BackupNameOut is what the name says: what the object is ("backup", "data", "part", "lockbox",
// or "other"), and of which bytes.
type BackupNameOut struct {
	Kind   string `json:"kind"`
	Digest Hex    `json:"digest,omitempty"`
	FileID Hex    `json:"file_id,omitempty"`
	From   int64  `json:"from,string,omitempty"`
	To     int64  `json:"to,string,omitempty"`
}

// LogPartIn is a part of an archived log under its name.
type LogPartIn struct {
	Name   string `json:"name"`
	Object Hex    `json:"object"`
}

// LogPartOut is what it holds.
type LogPartOut struct {
	StoreID     Hex       `json:"store_id"`
	TableID     Hex       `json:"table_id"`
	Incarnation Hex       `json:"incarnation"`
	FileID      Hex       `json:"file_id"`
	Number      uint64    `json:"number,string"`
	From        int64     `json:"from,string"`
	Frames      uint64    `json:"frames,string"`
	First       int64     `json:"first,string"`
	Last        int64     `json:"last,string"`
	Versions    []uint32  `json:"versions"`
	DataKeys    []DataKey `json:"data_keys"`
	Stretch     Hex       `json:"stretch"`
}
