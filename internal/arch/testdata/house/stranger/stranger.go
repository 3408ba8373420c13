// Package stranger is in no row of the table.
package stranger
