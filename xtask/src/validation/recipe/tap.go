// Package tap writes the lines of the Test Anything Protocol that the validation programs ask for.
package tap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// T is one program's stream of results.
type T struct {
	Writer io.Writer
	count  int
	todo   string
}

// New begins a stream on standard output.
func New() *T { return &T{Writer: os.Stdout} }

func (t *T) line(format string, values ...interface{}) { fmt.Fprintf(t.Writer, format+"\n", values...) }

// Header begins the protocol, with a plan if the number is known.
func (t *T) Header(planned int) {
	t.line("TAP version 13")
	if planned > 0 {
		t.line("1..%d", planned)
	}
}

// AutoPlan tells how many results there were.
func (t *T) AutoPlan() { t.line("1..%d", t.count) }

// Count is the number of results so far.
func (t *T) Count() int { return t.count }

// Ok tells a result.
func (t *T) Ok(passed bool, what string) {
	t.count++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	t.line("%s %d - %s%s", word, t.count, what, t.todo)
	t.todo = ""
}

// Todo marks the next result as one that is not expected to be good.
func (t *T) Todo() *T {
	t.todo = " # TODO"
	return t
}

// Pass tells a good result.
func (t *T) Pass(what string) { t.Ok(true, what) }

// Fail tells a bad result.
func (t *T) Fail(what string) { t.Ok(false, what) }

// Skip tells of results that could not be had.
func (t *T) Skip(count int, why string) {
	for ; count > 0; count-- {
		t.count++
		t.line("ok %d # SKIP %s", t.count, why)
	}
}

// Diagnostic tells something beside a result.
func (t *T) Diagnostic(text string) { t.line("# %s", strings.ReplaceAll(text, "\n", "\n# ")) }

// Diagnosticf is Diagnostic, formatted.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML tells data about the last result; JSON is YAML.
func (t *T) YAML(data interface{}) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	t.line("  ---\n  %s\n  ...", text)
	return nil
}
