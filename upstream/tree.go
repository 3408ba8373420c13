package upstream

import (
	"fmt"

	"github.com/lcapd/lcapd/changelog"
)

// RootFID is the root directory of a Lustre file system.
var RootFID = changelog.FID{Seq: 0x200000007, Oid: 1}

// Place is a name in a directory.
type Place struct {
	Parent changelog.FID
	Name   string
}

// Node is what a name leads to.
type Node struct {
	FID changelog.FID
	// Made is the type of the record that made it: CREAT, MKDIR, SLINK or MKNOD.
	Made changelog.Type
	// Links is how many names lead to it.
	Links int
}

// Tree is a name space at one moment: what maps.Equal compares.
type Tree map[Place]Node

// Replica is a name space as records tell of it: what somebody knows who has seen all
// of them. It believes nothing: a record that cannot follow on those before is an
// error. It has one owner.
type Replica struct {
	names    map[Place]changelog.FID
	nodes    map[changelog.FID]Node
	children map[changelog.FID]int // names in a directory
}

// NewReplica returns the replica of an empty file system.
func NewReplica() *Replica {
	root := Node{FID: RootFID, Made: changelog.TypeMkdir, Links: 1}
	return &Replica{
		names:    map[Place]changelog.FID{},
		nodes:    map[changelog.FID]Node{RootFID: root},
		children: map[changelog.FID]int{},
	}
}

// Tree returns the name space now.
func (p *Replica) Tree() Tree {
	t := make(Tree, len(p.names))
	for place, fid := range p.names {
		t[place] = p.nodes[fid]
	}
	return t
}

// Apply does what a record reports. After an error the replica is as before.
func (p *Replica) Apply(r changelog.Record) error {
	if err := p.apply(r); err != nil {
		return fmt.Errorf("record %d, %s: %w", r.Index(), r.Type(), err)
	}
	return nil
}

func (p *Replica) apply(r changelog.Record) error {
	place := Place{r.Parent(), string(r.Name())}
	switch r.Type() {
	case changelog.TypeCreat, changelog.TypeMkdir, changelog.TypeSlink, changelog.TypeMknod:
		if _, there := p.nodes[r.Target()]; there {
			return fmt.Errorf("%s exists already", r.Target())
		}
		return p.link(place, Node{FID: r.Target(), Made: r.Type()})
	case changelog.TypeHlink:
		node, err := p.node(r.Target())
		if err != nil {
			return err
		}
		return p.link(place, node)
	case changelog.TypeUnlnk, changelog.TypeRmdir:
		last, _ := r.IsLastUnlink()
		if err := p.mayRemove(place, r.Target(), last, r.Type() == changelog.TypeRmdir); err != nil {
			return err
		}
		p.unlink(place)
		return nil
	case changelog.TypeRenme:
		return p.rename(r, place)
	}
	_, err := p.node(r.Target())
	return err
}

func (p *Replica) node(fid changelog.FID) (Node, error) {
	node, there := p.nodes[fid]
	if !there {
		return node, fmt.Errorf("%s does not exist", fid)
	}
	return node, nil
}

// link gives a node one more name.
func (p *Replica) link(place Place, node Node) error {
	if fid, taken := p.names[place]; taken {
		return fmt.Errorf("%s in %s is %s already", place.Name, place.Parent, fid)
	}
	parent, err := p.node(place.Parent)
	if err != nil {
		return err
	}
	if parent.Made != changelog.TypeMkdir {
		return fmt.Errorf("%s is no directory", place.Parent)
	}
	node.Links++
	p.names[place], p.nodes[node.FID] = node.FID, node
	p.children[place.Parent]++
	return nil
}

// mayRemove says why a name may not go. last is whether the record says that it is
// the node's last one.
func (p *Replica) mayRemove(place Place, fid changelog.FID, last, dir bool) error {
	node, err := p.node(p.names[place])
	switch {
	case err != nil:
		return fmt.Errorf("%s in %s does not exist", place.Name, place.Parent)
	case node.FID != fid:
		return fmt.Errorf("%s in %s is %s, not %s", place.Name, place.Parent, node.FID, fid)
	case last != (node.Links == 1):
		return fmt.Errorf("%s has %d names, but the last one is said to go: %t", fid, node.Links, last)
	case dir != (node.Made == changelog.TypeMkdir):
		return fmt.Errorf("%s was made by %s", fid, node.Made)
	case p.children[fid] > 0:
		return fmt.Errorf("%s has %d names in it", fid, p.children[fid])
	}
	return nil
}

// unlink takes a name away, and the node with its last one.
func (p *Replica) unlink(place Place) {
	fid := p.names[place]
	node := p.nodes[fid]
	node.Links--
	delete(p.names, place)
	p.children[place.Parent]--
	if node.Links > 0 {
		p.nodes[fid] = node
		return
	}
	delete(p.nodes, fid)
	delete(p.children, fid)
}

// rename moves a name to a place, over what is there.
func (p *Replica) rename(r changelog.Record, to Place) error {
	source, _ := r.Source()
	parent, _ := r.SourceParent()
	name, _ := r.SourceName()
	from := Place{parent, string(name)}
	node, err := p.node(source)
	if err != nil {
		return err
	}
	if p.names[from] != source {
		return fmt.Errorf("%s in %s is not %s", from.Name, from.Parent, source)
	}
	over, taken := p.names[to]
	if taken || !r.Target().IsZero() {
		last, _ := r.IsLastRename()
		if err := p.mayRemove(to, r.Target(), last, node.Made == changelog.TypeMkdir); err != nil {
			return err
		}
		if over == source {
			return fmt.Errorf("both names lead to %s", source)
		}
		p.unlink(to)
	}
	if _, err := p.node(to.Parent); err != nil {
		return err
	}
	delete(p.names, from)
	p.names[to] = source
	p.children[from.Parent]--
	p.children[to.Parent]++
	return nil
}

// Names returns how many names there are.
func (p *Replica) Names() int { return len(p.names) }
