package engine

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cofredb/cofre/keyring"
)

// logger carries Pebble's log lines to slog. Routine ones go to the debug
// level.
type logger struct {
	log   *slog.Logger
	table keyring.ID
	fatal func(error)
}

func (l *logger) line(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, args...), "table", l.table, "from", "pebble")
	}
}

func (l *logger) Infof(format string, args ...any)  { l.line(slog.LevelDebug, format, args) }
func (l *logger) Errorf(format string, args ...any) { l.line(slog.LevelError, format, args) }

// Fatalf poisons the table instead of ending the process. Pebble goes on with
// a state it calls impossible, over a disk that no longer changes; whatever it
// answers, the engine has looked at the hole before it believes it.
func (l *logger) Fatalf(format string, args ...any) {
	l.line(slog.LevelError, format, args)
	l.fatal(fmt.Errorf("pebble: "+format, args...))
}
