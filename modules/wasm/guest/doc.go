// Package guest is for those who write a module in Go that lcapd loads as WebAssembly: it does the
// conversation with lcapd (docs/modules.md, "The ABI"), the module decides about records.
//
//	package main
//
//	var _ = guest.Handle(func(r changelog.Record) guest.Verdict {
//		if r.Type() == changelog.TypeClose {
//			return guest.Drop
//		}
//		return guest.Keep
//	})
//
//	func main() {}
//
// It is built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags=-s -o mine.wasm .
package guest
