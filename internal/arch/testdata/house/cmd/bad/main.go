// Package main is not how the comment of a command begins.
package main

func main() {}
