// Command good breaks no rule, although it imports everybody, and Exported has no comment.
package main

import (
	"example.org/house/broker"
	"example.org/house/client"
)

func main() { broker.Open() }

func Exported() { _ = client.Last }
