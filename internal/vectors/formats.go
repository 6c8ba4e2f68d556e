package vectors

// Integers of 64 bits are decimal text: not every JSON reader keeps them.

// HeaderIn is a sealed file, or the beginning of one, under its name.
type HeaderIn struct {
	Name      string         `json:"name"`
	StoreID   Hex            `json:"store_id"` // what the reader looks for
	TableID   Hex            `json:"table_id"`
	TableKeys map[uint32]Hex `json:"table_keys"` // by version
	File      Hex            `json:"file"`
}

// HeaderOut is what the header says, and the unwrapped data key.
type HeaderOut struct {
	Kind        uint8  `json:"kind"`
	UnitSize    uint32 `json:"unit_size"`
	FileID      Hex    `json:"file_id"`
	Number      uint64 `json:"number,string"`
	Incarnation Hex    `json:"incarnation"`
	CreatedAt   int64  `json:"created_at,string"`
	KeyVersion  uint32 `json:"key_version"`
	DataKey     Hex    `json:"data_key"`
}

// SSTableIn is a file that is written once.
type SSTableIn struct {
	DataKey Hex `json:"data_key"`
	File    Hex `json:"file"`
}

// SSTableOut is its plaintext.
type SSTableOut struct {
	Content Hex `json:"content"`
}

// WALIn is a file that is appended to, and what others say of it.
type WALIn struct {
	DataKey  Hex    `json:"data_key"`
	File     Hex    `json:"file"`
	Attested uint64 `json:"attested,string,omitempty"` // at least so many frames are durable
	Final    uint64 `json:"final,string,omitempty"`    // exactly so many frames; 0: unknown
	// NextKeys are the keys that frames name, unwrapped.
	NextKeys []NextKey `json:"next_keys,omitempty"`
}

// A NextKey is a data key that a log goes on under.
type NextKey struct {
	ID      Hex    `json:"id"`
	Version uint32 `json:"version"`
	DataKey Hex    `json:"data_key"`
}

// WALOut is what the log holds, or has before the error. End and Dropped mean
// nothing where there is one.
type WALOut struct {
	Past    Past    `json:"past"`
	Frames  []Frame `json:"frames"` // from frame 1 on
	End     int64   `json:"end"`    // offset
	Dropped int64   `json:"dropped"`
	Torn    bool    `json:"torn"` // what is dropped has traces of this file's frames
}

// A Past is the content of frame 0.
type Past struct {
	FormatVersion uint16  `json:"format_version"`
	PebbleFormat  uint64  `json:"pebble_format,string"`
	Previous      Segment `json:"previous"`
	Manifest      Segment `json:"manifest"`
}

// A Segment names a log and a number of its frames.
type Segment struct {
	Number uint64 `json:"number,string"`
	FileID Hex    `json:"file_id"`
	Frames uint64 `json:"frames,string"`
}

// A Frame is one frame of a log.
type Frame struct {
	Index   uint64 `json:"index,omitempty"` // where frames before it are not shown; else its place here
	Time    int64  `json:"time,string"`
	Durable uint64 `json:"durable,string"`
	Note    Hex    `json:"note"`
	Data    Hex    `json:"data"`
}

// KeyringIn is a keyring file under its name, with the file of the local key
// service, and the URIs of the root keys that the configuration pins.
type KeyringIn struct {
	Name       string   `json:"name"`
	File       Hex      `json:"file"`
	KeyService Hex      `json:"key_service"`
	Roots      []string `json:"roots"`
	Table      Hex      `json:"table,omitempty"` // the keyring opens; opening this table is what fails
}

// KeyringOut is what an open keyring shows.
type KeyringOut struct {
	StoreID    Hex    `json:"store_id"`
	Generation uint64 `json:"generation,string"`
	List
	Audit  *AuditState `json:"audit,omitempty"` // from file version 2 on, where there is a log
	Opened []OpenTable `json:"opened"`
}

// An AuditState is what a keyring says of the audit log.
type AuditState struct {
	Chain Hex    `json:"chain"`
	Seq   uint64 `json:"seq,string"`
	MAC   Hex    `json:"mac"`
	File  uint64 `json:"file,string"`
	End   uint64 `json:"end,string"`
	Key   Hex    `json:"key"` // of the next record
}

// A List is the opened list of tables.
type List struct {
	Journal    Hex         `json:"journal"`
	Tables     []Table     `json:"tables"`
	Tombstones []Tombstone `json:"tombstones"`
}

// A Table is a table of the list.
type Table struct {
	ID          Hex   `json:"id"`
	Name        Text  `json:"name"`
	State       uint8 `json:"state"`
	CreatedAt   int64 `json:"created_at,string"`
	Incarnation Hex   `json:"incarnation"`
	Left        Hex   `json:"left"` // how the table was left
}

// A Tombstone is what is left of a dropped table.
type Tombstone struct {
	ID        Hex      `json:"id"`
	Name      Text     `json:"name"`
	DroppedAt int64    `json:"dropped_at,string"`
	Versions  []uint32 `json:"versions"`
	Roots     []string `json:"roots"`
}

// An OpenTable is a table whose keys have been unwrapped; ID is of zeros for
// the store's own keys, which have no metadata.
type OpenTable struct {
	ID       Hex       `json:"id"`
	Metadata Hex       `json:"metadata"`
	DataKeys []DataKey `json:"data_keys"`
}

// A DataKey is the data key of a file, with its wrap.
type DataKey struct {
	FileID  Hex    `json:"file_id"`
	Version uint32 `json:"version"`
	Wrapped Hex    `json:"wrapped"`
	Key     Hex    `json:"key,omitempty"`
}

// OverlayIn is the file of an overlay of data keys under its id. Use, if it is there, is
// a file's data key as the header has it, to be unwrapped beside the overlay.
type OverlayIn struct {
	StoreID   Hex            `json:"store_id"` // what the reader looks for
	TableID   Hex            `json:"table_id"`
	OverlayID Hex            `json:"overlay_id"`
	TableKeys map[uint32]Hex `json:"table_keys"`        // by version
	Retired   []uint32       `json:"retired,omitempty"` // versions that are gone
	File      Hex            `json:"file"`
	Use       *DataKey       `json:"use,omitempty"`
}

// OverlayOut is what it holds, and the data key of Use.
type OverlayOut struct {
	KeyVersion uint32    `json:"key_version"`
	DataKeys   []DataKey `json:"data_keys"`
	Key        Hex       `json:"key,omitempty"`
}

// ListIn is the plaintext of the sealed list of tables.
type ListIn struct {
	List Hex `json:"list"`
}

// KeyServiceIn is the file of the local key service, and what it is sealed by.
type KeyServiceIn struct {
	File       Hex  `json:"file"`
	Passphrase Text `json:"passphrase,omitempty"`
	KeyFile    Hex  `json:"key_file,omitempty"`
}

// KeyServiceOut is what it holds.
type KeyServiceOut struct {
	Revision  uint64         `json:"revision,string"`
	Keys      []RootKey      `json:"keys"`
	Destroyed []DestroyedKey `json:"destroyed,omitempty"`
	Aliases   []KeyAlias     `json:"aliases,omitempty"`
	Grants    []KeyGrant     `json:"grants,omitempty"`
	Notes     []Note         `json:"notes"`
}

// A RootKey is a key of the local key service.
type RootKey struct {
	Name      string       `json:"name"`
	ID        Hex          `json:"id"`
	State     uint8        `json:"state"`
	CreatedAt int64        `json:"created_at,string"`
	DeleteAt  int64        `json:"delete_at,string,omitempty"`
	Versions  []KeyVersion `json:"versions"`

	RotationDays uint32 `json:"rotation_days,omitempty"`
	RotateAt     int64  `json:"rotate_at,string,omitempty"`
}

// A DestroyedKey is what is left of a RootKey.
type DestroyedKey struct {
	ID   Hex    `json:"id"`
	Name string `json:"name"`
	At   int64  `json:"at,string"`
}

// A KeyAlias is another name of a RootKey.
type KeyAlias struct {
	Name string `json:"name"`
	Key  Hex    `json:"key"` // its id
}

// A KeyGrant lets somebody use a RootKey.
type KeyGrant struct {
	ID         Hex               `json:"id"`
	Key        Hex               `json:"key"` // its id
	Grantee    string            `json:"grantee"`
	Retiring   string            `json:"retiring,omitempty"`
	Operations uint32            `json:"operations"`
	CreatedAt  int64             `json:"created_at,string"`
	Constraint uint8             `json:"constraint"`
	Pairs      map[string]string `json:"pairs,omitempty"`
}

// A KeyVersion is a version of a RootKey.
type KeyVersion struct {
	Number    uint32 `json:"number"`
	CreatedAt int64  `json:"created_at,string"`
	Key       Hex    `json:"key"`
}

// A Note is what the service remembers of a store's keyring.
type Note struct {
	StoreID    Hex    `json:"store_id"`
	Generation uint64 `json:"generation,string"`
	Digest     Hex    `json:"digest"`
}

// A Context is the encryption context of a wrap.
type Context struct {
	StoreID Hex    `json:"store_id"`
	TableID Hex    `json:"table_id"`
	Purpose string `json:"purpose"`
	Version uint32 `json:"version"`
}

// LocalWrapIn is a wrap of the local key service, with its file and the name
// of the key that is asked.
type LocalWrapIn struct {
	KeyService Hex     `json:"key_service"`
	Name       string  `json:"name"`
	Wrap       Hex     `json:"wrap"`
	Context    Context `json:"context"`
}

// PassphraseIn is a wrap under a key from a passphrase.
type PassphraseIn struct {
	Passphrase Text    `json:"passphrase"`
	Wrap       Hex     `json:"wrap"`
	Context    Context `json:"context"`
}

// RecoveryIn is a wrap for a recovery key, with its seed and its public key.
type RecoveryIn struct {
	Seed    Hex     `json:"seed"`
	Public  Hex     `json:"public"`
	Wrap    Hex     `json:"wrap"`
	Context Context `json:"context"`
}

// SheetIn is the text of a recovery sheet.
type SheetIn struct {
	Text Text `json:"text"`
}

// SheetOut is the recovery key that it holds.
type SheetOut struct {
	URI  string `json:"uri"`
	Seed Hex    `json:"seed"`
}

// WrapOut is the key that a wrap holds.
type WrapOut struct {
	Key Hex `json:"key"`
}

// ManifestNoteIn is the note of a frame of a MANIFEST.
type ManifestNoteIn struct {
	Note Hex `json:"note"`
}

// ManifestNoteOut is what it says of the file map.
type ManifestNoteOut struct {
	Whole   bool       `json:"whole"`
	Entries []MapEntry `json:"entries"`
	Log     Segment    `json:"log"`
	Gone    []MapKey   `json:"gone"`
	// Replacing may have taken the place of files of the map.
	Replacing []MapEntry `json:"replacing"`
}

// A MapEntry is a file of the file map.
type MapEntry struct {
	MapKey
	FileID Hex    `json:"file_id"`
	Length uint64 `json:"length,string"`
}

// A MapKey names a file of the file map.
type MapKey struct {
	Number uint64 `json:"number,string"`
	Kind   uint8  `json:"kind"`
}

// CleanCloseIn is a clean-close record.
type CleanCloseIn struct {
	Record Hex `json:"record"`
}

// CleanCloseOut is what it describes.
type CleanCloseOut struct {
	Markers   []string `json:"markers"`
	Manifests []End    `json:"manifests"`
	Logs      []End    `json:"logs"`
}

// An End is where a log or MANIFEST ends.
type End struct {
	Segment
	Size int64 `json:"size,string"`
}

// TableStateIn is how a table was left.
type TableStateIn struct {
	State Hex `json:"state"`
}

// TableStateOut takes it apart.
type TableStateOut struct {
	Clean    bool     `json:"clean"`
	Manifest *Segment `json:"manifest,omitempty"` // in force when it was opened
	Record   Hex      `json:"record,omitempty"`   // of the clean close
	// Snapshots were made while the table was locked.
	Snapshots []Snapshot `json:"snapshots,omitempty"`
	Loss      *KeyLoss   `json:"loss,omitempty"` // of the table's key
}

// KeyLoss is the record of a lost key.
type KeyLoss struct {
	ID         Hex   `json:"id"`
	Told       bool  `json:"told"`
	Noticed    bool  `json:"noticed"`
	Kept       bool  `json:"kept"`
	Since      int64 `json:"since,string"`
	Seen       int64 `json:"seen,string"`
	Left       int64 `json:"left,string"`
	Keep       int64 `json:"keep,string"` // until it is archived
	ArchivedAt int64 `json:"archived_at,string"`
	VerifiedAt int64 `json:"verified_at,string"`
	Reference  Text  `json:"reference,omitempty"` // once it is archived
}

// TableMetadataIn is the metadata of a table, opened.
type TableMetadataIn struct {
	Metadata Hex `json:"metadata"`
}

// TableMetadataOut takes it apart.
type TableMetadataOut struct {
	CreatedAt     int64      `json:"created_at,string"`
	SeparateFrom  int64      `json:"separate_from,string"`
	NotCompressed bool       `json:"not_compressed"`
	Locked        bool       `json:"locked"`
	Archiving     bool       `json:"archiving"`
	Snapshots     []Snapshot `json:"snapshots"`
	OverlayID     Hex        `json:"overlay_id"`
	OverlayDigest Hex        `json:"overlay_digest"`
	Reencrypting  int64      `json:"reencrypting,string"`
	KeyAge        int64      `json:"key_age,string"`
	DataAge       int64      `json:"data_age,string"`

	Table        Text         `json:"table"`
	Origins      []Origin     `json:"origins"`
	Repositories []Repository `json:"repositories"`
}

// An Origin is a table whose files a restored one may have.
type Origin struct {
	StoreID Hex `json:"store_id"`
	TableID Hex `json:"table_id"`
}

// A Repository has backups of the table.
type Repository struct {
	ID       Hex      `json:"id"`
	Location Text     `json:"location"`
	At       int64    `json:"at,string"`
	Versions []uint32 `json:"versions"`
}

// A Snapshot is a snapshot that exists.
type Snapshot struct {
	ID        Hex   `json:"id"`
	Name      Text  `json:"name"`
	CreatedAt int64 `json:"created_at,string"`
	Files     int64 `json:"files,string"`
	Bytes     int64 `json:"bytes,string"`
	Record    Hex   `json:"record"`
}

// NameIn is a name in a table's directory.
type NameIn struct {
	Name string `json:"name"`
}

// NameOut is what the name says. Kind is 0 where the file is not sealed.
type NameOut struct {
	Kind    uint8  `json:"kind"`
	Number  uint64 `json:"number,string"`
	Empty   bool   `json:"empty,omitempty"`   // a marker or a lock
	Ignored bool   `json:"ignored,omitempty"` // not a name of Pebble's
	Pending bool   `json:"pending,omitempty"` // a log that has no name yet
}

// ImportIn is an input of cofre import.
type ImportIn struct {
	Key      string `json:"key,omitempty"` // csv: the column; jsonl: the path of field names
	MaxKey   int    `json:"max_key"`       // bytes
	MaxValue int    `json:"max_value"`     // bytes
	Input    Text   `json:"input"`
}

// ImportOut is what comes of it, in the order of the input.
type ImportOut struct {
	Results []ImportResult `json:"results"`
}

// An ImportResult is an entry, or the number of a line that is refused while
// the import goes on behind it.
type ImportResult struct {
	Key     Text `json:"key,omitempty"`
	Value   Text `json:"value,omitempty"`
	BadLine int  `json:"bad_line,omitempty"`
}
