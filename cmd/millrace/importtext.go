package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxLine is the longest line that can be a row.
	maxLine = 1 << 20
	// maxQuoted is the longest row of several lines, which a quoted cell may have: a
	// quote that is not closed by then was none.
	maxQuoted = 64 << 10
	// maxWindow bounds the memory that unpacking takes.
	maxWindow = 128 << 20
)

// A textFile is the text of a file, unpacked if the file is packed. It is read row by
// row, in memory bounded by maxLine, and knows how much of it has been taken.
type textFile struct {
	file  *os.File
	whole bool // a last line without a line end is a line

	in      *bufio.Reader
	packing string // gzip, zstd or none
	unzstd  *zstd.Decoder
	cut     bool // the packed text ends in its midst

	at     int64 // bytes of the text that have been taken
	line   int   // lines of it
	open   bool  // and the last of them has no line end
	digest hash.Hash
}

// openText opens a file whose text is UTF-8 or at least resembles it.
func openText(path string, whole bool) (*textFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t := &textFile{file: file, whole: whole}
	if err := t.start(0); err != nil {
		t.close()
		return nil, err
	}
	head, err := t.window(512)
	if err == nil {
		err = isText(head)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// foreign is how files begin that people take for CSV.
var foreign = []struct{ magic, what string }{
	{"\xff\xfe", "is UTF-16: make it UTF-8 (iconv -f UTF-16 -t UTF-8)"},
	{"\xfe\xff", "is UTF-16: make it UTF-8 (iconv -f UTF-16 -t UTF-8)"},
	{"BZh", "is packed with bzip2: gzip and zstd are read as they are"},
	{"\xfd7zXZ\x00", "is packed with xz: gzip and zstd are read as they are"},
	{"PK\x03\x04", "is a ZIP archive or a spreadsheet: save it as CSV"},
	{"PAR1", "is Parquet, not CSV"},
}

func isText(head []byte) error {
	for _, f := range foreign {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return &hopelessError{line: 1, reason: "the file " + f.what}
		}
	}
	switch zeros := bytes.Count(head, []byte{0}); {
	case zeros == 0, zeros*10 < len(head): // a few may be what a power cut has left
		return nil
	case zeros >= len(head)/3 && zeros <= (len(head)+1)/2:
		return &hopelessError{line: 1, reason: "the file seems to be UTF-16: make it UTF-8 (iconv -f UTF-16LE -t UTF-8)"}
	default:
		return &hopelessError{line: 1, reason: "the file is no text: want UTF-8, perhaps packed with gzip or zstd"}
	}
}

// utf8BOM is the mark that some programs put at a file's start.
const utf8BOM = "\ufeff"

// start goes to a place in the text, having read all before it.
func (t *textFile) start(at int64) error {
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if t.unzstd != nil {
		t.unzstd.Close()
		t.unzstd = nil
	}
	raw := bufio.NewReaderSize(t.file, maxLine)
	magic, err := raw.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	t.in, t.packing, t.cut = raw, "", false
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		t.packing = "gzip"
		in, err := gzip.NewReader(raw)
		if err != nil {
			return err
		}
		t.in = bufio.NewReaderSize(in, maxLine)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		t.packing = "zstd"
		t.unzstd, err = zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		t.in = bufio.NewReaderSize(t.unzstd, maxLine)
	}
	t.at, t.line, t.digest = 0, 0, sha256.New()
	if at == 0 {
		if b, err := t.window(len(utf8BOM)); err == nil && string(b) == utf8BOM {
			t.take(len(b))
		}
	}
	t.open = false
	for t.at < at {
		b, err := t.window(int(min(at-t.at, maxLine)))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			break // it has become shorter: progress tells
		}
		t.take(len(b))
	}
	return nil
}

// window returns what follows, up to n bytes; fewer where the text ends.
func (t *textFile) window(n int) ([]byte, error) {
	b, err := t.in.Peek(n)
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return b, nil
	case errors.Is(err, io.ErrUnexpectedEOF): // of a packed file
		t.cut = true
		return b, nil
	}
	return b, err
}

// take counts n bytes, which must be in the window, as read.
func (t *textFile) take(n int) {
	b, _ := t.in.Peek(n)
	t.digest.Write(b)
	t.at += int64(n)
	t.line += bytes.Count(b, []byte{'\n'})
	t.open = n > 0 && b[n-1] != '\n'
	t.in.Discard(n)
}

// errUnfinished says that what is left of the text is a line without an end: whoever
// writes the file may not be done with it.
var errUnfinished = errors.New("the last line has no line end")

// lineLength returns the length of the line that follows, its end included: more than
// maxLine bytes have no end that is known. io.EOF says that there is none.
func (t *textFile) lineLength() (int, error) {
	for have := 0; ; {
		b, _ := t.in.Peek(t.in.Buffered())
		if i := bytes.IndexByte(b[have:], '\n'); i >= 0 {
			return have + i + 1, nil
		}
		if have = len(b); have == maxLine {
			return maxLine + 1, nil
		}
		more, err := t.window(have + 1)
		switch {
		case err != nil:
			return 0, err
		case len(more) > have:
		case have == 0 && !t.cut:
			return 0, io.EOF
		case !t.whole || t.cut:
			return 0, errUnfinished
		default:
			return have, nil
		}
	}
}

// skipLine takes a line of any length.
func (t *textFile) skipLine() error {
	at, line := t.at, t.line
	digest, err := t.digest.(hash.Cloner).Clone()
	if err != nil {
		return err
	}
	for {
		n, err := t.lineLength()
		if err == nil {
			t.take(min(n, maxLine))
		}
		switch {
		case errors.Is(err, errUnfinished), errors.Is(err, io.EOF) && !t.whole: // it has never been
			t.at, t.line, t.digest = at, line, digest
			return errUnfinished
		case errors.Is(err, io.EOF):
			return nil
		case err != nil || n <= maxLine:
			return err
		}
	}
}

// progress returns how many bytes have been taken, and their SHA-256.
func (t *textFile) progress() (at int64, sum string) {
	return t.at, hex.EncodeToString(t.digest.Sum(nil))
}

// read is how far into the file, packed or not, reading has come.
func (t *textFile) read() int64 {
	at, _ := t.file.Seek(0, io.SeekCurrent)
	return at
}

func (t *textFile) close() {
	if t.unzstd != nil {
		t.unzstd.Close()
	}
	t.file.Close()
}

// What is wrong with the quotes of a row.
var (
	errOpenQuote  = errors.New(`the quote " is not closed`)
	errBareQuote  = errors.New(`bare " in a cell without quotes`)
	errAfterQuote = errors.New(`text after the closing quote "`)
	errLongLine   = fmt.Errorf("the line is longer than %d bytes", maxLine)
)

// A textRow is the row that follows in a text. It may be several lines where a cell
// is quoted; then it is the caller who knows whether that makes sense: if not, its
// first line alone is taken, as a row that makes none.
type textRow struct {
	cells      []string
	first, all int // length of its first line, and of the row
}

// row returns the row that follows, which is not yet taken. The error says that there
// is none, or what is wrong with its first line; then first is that line's length,
// or more than maxLine.
func (t *textFile) row(separator byte, cells []string) (textRow, error) {
	n, err := t.lineLength()
	if err != nil {
		return textRow{}, err
	}
	if n > maxLine {
		return textRow{first: n, all: n}, errLongLine
	}
	b, _ := t.in.Peek(n)
	row := textRow{first: n}
	row.cells, row.all, err = cutRow(string(b), separator, cells[:0])
	if !errors.Is(err, errOpenQuote) {
		return row, err
	}
	if b, err = t.window(max(n, maxQuoted)); err != nil {
		return row, err
	}
	row.cells, row.all, err = cutRow(string(b), separator, cells[:0])
	if err == nil && !t.whole && row.all == len(b) && b[row.all-1] != '\n' {
		err = errOpenQuote // its last line is not finished
	}
	return row, err
}

// cutRow cuts the row that text begins with into cells (RFC 4180), and returns its
// length: up to a line end that no quotes hold, or to the end of text.
func cutRow(text string, separator byte, cells []string) (_ []string, n int, err error) {
	if !strings.Contains(text, `"`) { // Fast path.
		line, _, ended := strings.Cut(text, "\n")
		if n = len(line); ended {
			n++
		}
		line = strings.TrimSuffix(line, "\r")
		for i := strings.IndexByte(line, separator); i >= 0; i = strings.IndexByte(line, separator) {
			cells = append(cells, line[:i])
			line = line[i+1:]
		}
		return append(cells, line), n, nil
	}
	ends := string([]byte{separator, '\n'})
	for at := 0; ; {
		cell, end := "", at
		if at < len(text) && text[at] == '"' {
			cell, end, err = cutQuoted(text, at+1)
			if err == nil && strings.HasPrefix(text[end:], "\r\n") {
				end++
			}
			if err == nil && end < len(text) && text[end] != separator && text[end] != '\n' {
				err = errAfterQuote
			}
		} else {
			if end = strings.IndexAny(text[at:], ends); end < 0 {
				end = len(text) - at
			}
			end += at
			if cell = text[at:end]; strings.Contains(cell, `"`) {
				err = errBareQuote
			}
			if end == len(text) || text[end] == '\n' {
				cell = strings.TrimSuffix(cell, "\r")
			}
		}
		if err != nil {
			return cells, 0, err
		}
		cells = append(cells, cell)
		switch {
		case end >= len(text):
			return cells, len(text), nil
		case text[end] == '\n':
			return cells, end + 1, nil
		}
		at = end + 1
	}
}

// cutQuoted reads the cell whose opening quote is before text[at:], and returns where
// its closing quote has been passed.
func cutQuoted(text string, at int) (cell string, end int, err error) {
	for {
		i := strings.IndexByte(text[at:], '"')
		if i < 0 {
			return "", 0, errOpenQuote
		}
		cell += text[at : at+i]
		at += i + 1
		if at == len(text) || text[at] != '"' {
			return cell, at, nil
		}
		cell += `"`
		at++
	}
}
