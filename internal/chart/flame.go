package chart

import (
	"fmt"
	"io"
	"time"

	"github.com/google/pprof/profile"
)

// The measures of a flame graph, in pixels.
const (
	flameWidth, flameMargin = 1200, 8
	rowHeight               = 17
	letterWidth             = 6.7 // of the font of names
	flameHead, flameFoot    = 52, 26
)

// foldBelow is the part of all below which frames are not drawn one by one.
const foldBelow = 0.005

// WriteFlame reads a CPU profile, as Go and pprof write it, and draws it as a flame graph:
// each function stands upon the one that has called it, as wide as the time that was spent in
// it and in what it called. Frames below 0.5 % of all are drawn as one with those beside them.
func WriteFlame(w io.Writer, r io.Reader, title string) error {
	p, err := profile.Parse(r)
	if err != nil {
		return fmt.Errorf("read a profile: %w", err)
	}
	root, unit := framesOf(p)
	depth := root.fold(int64(float64(root.value)*foldBelow) + 1)
	height := flameHead + depth*rowHeight + flameFoot
	d := begin(flameWidth, height, title)
	d.text("h c", flameWidth/2, 20, title)
	legend(d)
	fl := flame{d, float64(flameWidth-2*flameMargin) / float64(max(root.value, 1)), root.value, unit}
	fl.draw(root, flameMargin, float64(height-flameFoot-rowHeight))
	d.text("s c", flameWidth/2, float64(height)-8, fmt.Sprintf(
		"width: CPU time of a function and of what it calls, of %s; below %.1f %%: drawn together; the pointer tells names and parts", fl.amount(root.value), foldBelow*100))
	return d.end(w)
}

// legend says what the colours are.
func legend(d *drawing) {
	const each, from = 130, 275
	for i, k := range kinds {
		x := float64(from + i*each)
		d.rect(k.class, x, 31, 12, 12)
		d.text("s", x+18, 41, k.says)
	}
}

// flame is what is the same for all frames of a graph.
type flame struct {
	*drawing
	scale float64 // pixels of a value of 1
	total int64
	unit  string
}

// draw draws a frame and all upon it.
func (fl *flame) draw(f *frame, x, y float64) {
	width := float64(f.value) * fl.scale
	name := f.short()
	full := f.name
	if f.few > 0 {
		full = name
	}
	fmt.Fprintf(fl, "<g><title>%s: %.1f %%, %s</title>\n", escape(full), 100*float64(f.value)/float64(max(fl.total, 1)), fl.amount(f.value))
	fl.rect("f "+f.class(), x, y, width, rowHeight-1)
	if letters := int((width - 6) / letterWidth); letters >= 3 {
		fl.text("m", x+3, y+12, shortened(name, letters))
	}
	fl.WriteString("</g>\n")
	for _, c := range f.callees {
		fl.draw(c, x, y-rowHeight)
		x += float64(c.value) * fl.scale
	}
}

// shortened cuts text to so many letters.
func shortened(text string, letters int) string {
	if all := []rune(text); len(all) > letters {
		return string(all[:letters-1]) + "…"
	}
	return text
}

// amount is a value with its unit.
func (fl *flame) amount(v int64) string {
	if fl.unit == "nanoseconds" {
		return fmt.Sprintf("%.2f s", time.Duration(v).Seconds())
	}
	return fmt.Sprintf("%d %s", v, fl.unit)
}
