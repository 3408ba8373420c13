package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// drawing is an SVG file that is being written.
type drawing struct{ bytes.Buffer }

// style has the colours, for light ground and for dark. Programs that know no media
// queries draw the light one.
const style = `text{font:12px sans-serif;fill:#1f2328}.h{font-size:14px;font-weight:bold}.s{fill:#59636e}.m{font:11px monospace;fill:#1f2328}` +
	`.e{text-anchor:end}.c{text-anchor:middle}.g{fill:#fff}.r{stroke:#d8dee4}.x{stroke:#59636e}` +
	`.l{fill:none;stroke-width:2}.l1{stroke:#0969da}.l2{stroke:#bc4c00;stroke-dasharray:6 4}.w{stroke-width:1.2;stroke-dasharray:none}.p1{fill:#0969da}.p2{fill:#bc4c00}` +
	`.f{stroke:#fff;stroke-width:.5}.own{fill:#f5b971}.go{fill:#a5c8ef}.sys{fill:#f2a8a0}.std{fill:#b5d9a8}.mod{fill:#d3b8e6}.few{fill:#d8dee4}` +
	`@media(prefers-color-scheme:dark){text,.m{fill:#e6edf3}.s{fill:#9198a1}.g{fill:#0d1117}.r{stroke:#30363d}.x{stroke:#9198a1}` +
	`.l1{stroke:#58a6ff}.l2{stroke:#f0883e}.p1{fill:#58a6ff}.p2{fill:#f0883e}` +
	`.f{stroke:#0d1117}.own{fill:#8a5a17}.go{fill:#234f7d}.sys{fill:#8b352d}.std{fill:#34632a}.mod{fill:#5e3b7a}.few{fill:#30363d}}`

// begin returns a drawing of so many pixels, with its ground. title says what it shows, to
// who cannot see it.
func begin(width, height int, title string) *drawing {
	d := new(drawing)
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n<title>%[3]s</title>\n<style>%[4]s</style>\n",
		width, height, escape(title), style)
	d.rect("g", 0, 0, float64(width), float64(height))
	return d
}

// end writes the drawing.
func (d *drawing) end(w io.Writer) error {
	d.WriteString("</svg>\n")
	_, err := d.WriteTo(w)
	return err
}

// escape returns text as it stands in XML. What XML cannot say at all becomes a sign for that.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

// px is a length with the digits that can be seen.
func px(v float64) string { return strconv.FormatFloat(float64(int64(v*10+0.5))/10, 'f', -1, 64) }

func (d *drawing) rect(class string, x, y, width, height float64) {
	fmt.Fprintf(d, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"/>`+"\n", class, px(x), px(y), px(width), px(height))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(d, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`+"\n", class, px(x1), px(y1), px(x2), px(y2))
}

func (d *drawing) text(class string, x, y float64, text string) {
	fmt.Fprintf(d, `<text class="%s" x="%s" y="%s">%s</text>`+"\n", class, px(x), px(y), escape(text))
}
