package chart

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Point is a value and what it was measured between. X is above 0, the others are not below.
type Point struct{ X, Y, Least, Most float64 }

// Lines is a chart of two lines at most, over an axis on which each step multiplies.
type Lines struct {
	Title, XTitle, YTitle string
	Names                 []string  // of the lines
	Points                [][]Point // of each line, by growing X
	Tick                  func(x float64) string
}

// The measures of a chart, in pixels: of all of it, and of what lies around its field.
const (
	chartWidth, chartHeight = 480, 300
	left, right, top, below = 62, 18, 54, 48
	headHeight, footHeight  = 34, 26
)

// WriteLines draws charts, two beside each other, under a title and above a note.
func WriteLines(w io.Writer, title, note string, charts []Lines) error {
	rows := (len(charts) + 1) / 2
	height := headHeight + rows*chartHeight + footHeight
	d := begin(2*chartWidth, height, title)
	d.text("h c", chartWidth, 22, title)
	for i, c := range charts {
		fmt.Fprintf(d, `<g transform="translate(%d %d)">`+"\n", i%2*chartWidth, headHeight+i/2*chartHeight)
		c.draw(d)
		d.WriteString("</g>\n")
	}
	d.text("s c", chartWidth, float64(height)-9, note)
	return d.end(w)
}

// scale tells where on a chart values lie.
type scale struct {
	least, most float64 // of X
	step, end   float64 // of Y
}

func (c *Lines) scale() scale {
	s := scale{least: math.Inf(1)}
	for _, line := range c.Points {
		for _, p := range line {
			s.least, s.most = min(s.least, p.X), max(s.most, p.X)
			s.end = max(s.end, p.Y, p.Most)
		}
	}
	s.step = stepOf(s.end)
	s.end = max(math.Ceil(s.end/s.step), 1) * s.step
	return s
}

// stepOf is the distance of lines on an axis up to end: 1, 2 or 5 times a power of ten, so that
// there are three to seven.
func stepOf(end float64) float64 {
	if end <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(end)))
	for _, step := range []float64{power / 5, power / 2, power} {
		if end/step <= 7 {
			return step
		}
	}
	return 2 * power
}

func (s scale) x(v float64) float64 {
	const inset = 14
	if s.most <= s.least {
		return left + (chartWidth-left-right)/2
	}
	return left + inset + (chartWidth-left-right-2*inset)*math.Log(v/s.least)/math.Log(s.most/s.least)
}

func (s scale) y(v float64) float64 {
	return chartHeight - below - (chartHeight-top-below)*v/s.end
}

func (c *Lines) draw(d *drawing) {
	d.text("h", left, 18, c.Title)
	s := c.scale()
	c.axes(d, s)
	for i, line := range c.Points {
		class := fmt.Sprint(i + 1)
		c.legend(d, i, class)
		var path strings.Builder
		for _, p := range line {
			fmt.Fprintf(&path, "%s,%s ", px(s.x(p.X)), px(s.y(p.Y)))
		}
		fmt.Fprintf(d, `<polyline class="l l%s" points="%s"/>`+"\n", class, strings.TrimSpace(path.String()))
		for _, p := range line {
			beside := s.x(p.X) + float64(4*i-2) // so that both lines' can be seen
			d.line("l"+class+" w", beside, s.y(p.Least), beside, s.y(p.Most))
			mark(d, class, s.x(p.X), s.y(p.Y))
		}
	}
}

// axes draws them, with a line and a number for each step.
func (c *Lines) axes(d *drawing, s scale) {
	for v := 0.0; v <= s.end*1.001; v += s.step {
		d.line("r", left, s.y(v), chartWidth-right, s.y(v))
		d.text("s e", left-7, s.y(v)+4, fmt.Sprintf("%.3g", v))
	}
	d.line("x", left, s.y(0), chartWidth-right, s.y(0))
	if len(c.Points) > 0 {
		for _, p := range c.Points[0] {
			d.line("x", s.x(p.X), s.y(0), s.x(p.X), s.y(0)+5)
			d.text("s c", s.x(p.X), s.y(0)+19, c.Tick(p.X))
		}
	}
	d.text("s c", left+(chartWidth-left-right)/2, chartHeight-10, c.XTitle)
	const middle = top + (chartHeight-top-below)/2
	fmt.Fprintf(d, `<text class="s c" transform="translate(16 %d) rotate(-90)">%s</text>`+"\n", middle, escape(c.YTitle))
}

// legend names a line.
func (c *Lines) legend(d *drawing, i int, class string) {
	x := float64(left + i*130)
	d.line("l l"+class, x, 36, x+28, 36)
	mark(d, class, x+14, 36)
	d.text("", x+34, 40, c.Names[i])
}

// mark draws a point: a disc for the first line, a square for the second.
func mark(d *drawing, class string, x, y float64) {
	if class == "1" {
		fmt.Fprintf(d, `<circle class="p1" cx="%s" cy="%s" r="3.5"/>`+"\n", px(x), px(y))
		return
	}
	d.rect("p"+class, x-3, y-3, 6, 6)
}
