// Package chart draws pictures as SVG: line charts, and flame graphs of CPU profiles.
//
// A picture is one file that needs nothing else: no script, no font, no style from
// elsewhere. It can be read on light ground and on dark, as whoever looks at it has
// chosen, and what a colour tells, a shape or a word tells too. What is drawn from the
// same numbers is the same to the byte.
//
//	svg.go    elements, escaping, colours     lines.go  line charts, side by side
//	flame.go  the flame graph of a profile    stack.go  its frames
package chart
