package changelog

import (
	"os"
	"testing"
	"time"
)

func init() {} // tests may

func TestRecord(t *testing.T) { // the tests of a pure room need not be pure
	done := make(chan int)
	go func() { done <- len(os.Args) }()
	<-done
	time.Sleep(0)
}
