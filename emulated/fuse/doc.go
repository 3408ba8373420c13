// Package fuse speaks the kernel's side of a file system in user space on /dev/fuse:
// it mounts, decodes requests, and encodes replies and poll notifications. It knows
// the layout of messages and nothing about what is served.
//
// It speaks just enough for a directory of files that answer read, write, ioctl and
// poll themselves. Existing libraries for Go cannot serve poll, nor an ioctl whose
// argument is a value (docs/lustre-changelog-abi.md, section 14).
//
// The protocol is that of the header linux/fuse.h, version 7.31 and later: messages in
// the machine's byte order, a header and a body of fixed layout, names and data behind.
package fuse
