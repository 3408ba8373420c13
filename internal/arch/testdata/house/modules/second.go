// Package modules has a second one.
package modules
