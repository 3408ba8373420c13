// Package broken does not type-check.
package broken

var number int = "text"
