// Package modules has a package comment, and here is
package modules
