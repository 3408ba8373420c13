//go:build never

package form
