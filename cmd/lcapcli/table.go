package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// tableWidth is how wide a table may be, in columns of the terminal.
const tableWidth = 100

// A table is lines of cells below a line of titles.
type table struct {
	titles []string
	right  []bool // the column is of numbers
	rows   [][]string
}

// newTable makes a table with the given titles. One that begins with > is of a column of numbers.
func newTable(titles ...string) *table {
	t := &table{}
	for _, title := range titles {
		name, right := strings.CutPrefix(title, ">")
		t.titles, t.right = append(t.titles, name), append(t.right, right)
	}
	return t
}

// add adds a line. The cells come from anybody: what is not printable is not printed.
func (t *table) add(cells ...any) {
	var row []string
	for _, cell := range cells {
		row = append(row, printable(fmt.Sprint(cell)))
	}
	t.rows = append(t.rows, row)
}

// printable replaces what would not show on a terminal as one character.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// write writes the table. Where it would be too wide its widest columns of text are cut.
func (t *table) write(w io.Writer) error {
	widths := t.widths()
	for _, row := range append([][]string{t.titles}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			cell = cut(cell, widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.right[i] {
				cell = pad + cell
			} else {
				cell += pad
			}
			if i > 0 {
				line.WriteString("  ")
			}
			line.WriteString(cell)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// widths returns those of the columns.
func (t *table) widths() []int {
	widths, all := make([]int, len(t.titles)), 2*(len(t.titles)-1)
	for _, row := range append([][]string{t.titles}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, n := range widths {
		all += n
	}
	for ; all > tableWidth; all-- {
		widest := t.widest(widths, 1, 8) // the first column, the name of the thing, is cut last
		if widest < 0 {
			widest = t.widest(widths, 0, 4)
		}
		if widest < 0 {
			break // numbers are not cut
		}
		widths[widest]--
	}
	return widths
}

// widest returns the widest column of text from one on that is wider than least, -1 for none.
func (t *table) widest(widths []int, from, least int) int {
	widest := -1
	for i, n := range widths {
		if i >= from && !t.right[i] && n > least && (widest < 0 || n > widths[widest]) {
			widest = i
		}
	}
	return widest
}

// cut shortens a cell to n characters, in the middle: both ends of a name tell more.
func cut(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	head := (n - 1) / 2
	return string(runes[:head]) + "…" + string(runes[len(runes)-(n-1-head):])
}

// bytesText is a number of bytes for humans.
func bytesText[T int | int64 | uint64](n T) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), -1
	for v >= 1023.95 && unit < 5 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit])
}

// timeText is a duration for humans: its two largest units.
func timeText(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Millisecond:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// listText is a list of names; none stands for all.
func listText(names []string) string {
	if len(names) == 0 {
		return "all"
	}
	return strings.Join(names, ",")
}

// orDash is a text that may be missing.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// countText is a number of things: "1 member", "3 members".
func countText(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
