package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The program itself runs in the scripts: a process, with its streams and exit code.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lcapcli": main})
}

// TestScripts runs the sessions in testdata/script. They are what a user types and
// sees, errors included; those that must fail say with which exit code.
func TestScripts(t *testing.T) {
	vectors, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("VECTORS", vectors+"/../../changelog/testdata/vectors")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every process under -race ends a second late
			env.Values[siteKey{}] = new(*site)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exitcode": exitCode,
			"head":     head,
			"flip":     flip,
			"site":     siteCommand,
			"produce":  produceCommand,
			"await":    await,
		},
		Condition:     canMount,
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}
