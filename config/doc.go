// Package config reads the configuration of lcapd: a file, and the environment on
// top of it.
//
// It works in three steps: parse makes a raw tree of file and environment, defaults
// stand for what the tree leaves out, and validation turns both into a [Config] of
// plain values. One table, settings, says for each key what it means, what is
// allowed and what the default is; the annotated file of [DefaultFile], the names of
// the variables and [Diff] all follow from it.
//
// # What it promises
//
//   - All mistakes are reported at once, as [Errors]: one line each, with file,
//     line (in YAML), key, value and what is allowed.
//   - A key that is unknown is a mistake, not a wish.
//   - A Config that Load returned is complete and consistent in itself. Whether
//     devices, directories and users exist is for others to find out: nothing but
//     the file and the environment is looked at.
//   - A Config never changes after that. Nobody may write to it.
//
// # Environment
//
// Each key of the file is also a variable: LCAPD_ and the key in capitals, with an
// underscore for the dot, such as LCAPD_MEMORY or LCAPD_LIMITS_FRAME. A variable that
// is set wins over the file, also when it is empty. Lists are separated by commas
// (LCAPD_LISTEN=tcp://*:8189,ipc:///run/lcapd.sock), or written as YAML
// (LCAPD_UPSTREAM=[{mdt: home-MDT0000, driver: watch, path: /home}]). Variables with
// other names are none of our business, as container platforms set some of their own
// (LCAPD_PORT).
package config
