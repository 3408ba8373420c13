// Package broker is the running broker: the loop that owns all state, the stages
// beside it (ingest before, scatter behind), and the store of what must survive.
// What is decided is decided in broker/core and groups; here it is carried out.
package broker
