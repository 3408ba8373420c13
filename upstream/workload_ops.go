package upstream

import "github.com/lcapd/lcapd/changelog"

// Each function here lets one thing happen, and fills in the fields of its record. It
// returns false, and has changed nothing, if that is not possible now.

// make makes an object.
func (w *Workload) make(made changelog.Type) bool {
	if len(w.entries) >= w.o.Names {
		return false
	}
	parent, name := w.newPlace(made == changelog.TypeMkdir)
	w.name(made, w.link(w.newObject(made), parent, name))
	return true
}

// hardlink gives a file one more name.
func (w *Workload) hardlink() bool {
	e := w.randomEntry(isFile)
	if e == nil || len(w.entries) >= w.o.Names {
		return false
	}
	parent, name := w.newPlace(false)
	w.name(changelog.TypeHlink, w.link(e.object, parent, name))
	return true
}

// write writes a file and closes it.
func (w *Workload) write() bool {
	e := w.randomEntry(isFile)
	return e != nil && w.change(changelog.TypeClose, e.object, changelog.Flags(changelog.OpenWrite))
}

// touch sets the time of something.
func (w *Workload) touch() bool {
	e := w.randomEntry(isNotDir)
	return e != nil && w.change(changelog.TypeMtime, e.object, changelog.Flags(changelog.AttrMtime|changelog.AttrCtime))
}

// truncate sets the size of a file.
func (w *Workload) truncate() bool {
	e := w.randomEntry(isFile)
	return e != nil && w.change(changelog.TypeTrunc, e.object, changelog.Flags(changelog.AttrSize|changelog.AttrMtime|changelog.AttrCtime))
}

// setattr changes mode or owner of something.
func (w *Workload) setattr() bool {
	e := w.randomEntry(func(*entry) bool { return true })
	attrs := []changelog.Attrs{changelog.AttrMode, changelog.AttrUID, changelog.AttrUID | changelog.AttrGID}[w.rng.IntN(3)]
	return e != nil && w.change(changelog.TypeSattr, e.object, changelog.Flags(attrs|changelog.AttrCtime))
}

var xattrs = []string{"user.comment", "user.checksum", "security.selinux", "trusted.job", "system.posix_acl_access"}

// setxattr sets an extended attribute of something.
func (w *Workload) setxattr() bool {
	e := w.randomEntry(func(*entry) bool { return true })
	if e == nil {
		return false
	}
	w.fields.Format.Extra = changelog.ExtraXattr
	w.fields.XattrName = xattrs[w.rng.IntN(len(xattrs))]
	return w.change(changelog.TypeXattr, e.object, 0)
}

// unlink removes a name of something that is no directory.
func (w *Workload) unlink() bool {
	e := w.randomEntry(isNotDir)
	return e != nil && w.remove(changelog.TypeUnlnk, e)
}

// rmdir removes an empty directory.
func (w *Workload) rmdir() bool {
	e := w.randomEntry(isEmptyDir)
	return e != nil && w.remove(changelog.TypeRmdir, e)
}

func (w *Workload) remove(how changelog.Type, e *entry) bool {
	w.name(how, e)
	w.fields.Payload = w.unlinkEntry(e)
	return true
}

// renameFile moves a name that is no directory's to a free place.
func (w *Workload) renameFile() bool {
	e := w.randomEntry(isNotDir)
	if e == nil {
		return false
	}
	parent, name := w.newPlace(false)
	w.move(e, parent, name)
	return true
}

// renameDir moves a directory to a free place outside of it.
func (w *Workload) renameDir() bool {
	e := w.randomEntry(isDir)
	if e == nil {
		return false
	}
	parent := w.randomDir()
	if e.object.within(parent) {
		return false
	}
	w.move(e, parent, w.newName(true))
	return true
}

// renameOver moves a name over another one that leads to another object.
func (w *Workload) renameOver() bool {
	e := w.randomEntry(isNotDir)
	over := w.randomEntry(isNotDir)
	if e == nil || over == nil || e.object == over.object {
		return false
	}
	w.replace(e, over)
	return true
}

// renameDirOver moves a directory over an empty one that is not in it.
func (w *Workload) renameDirOver() bool {
	e := w.randomEntry(isDir)
	over := w.randomEntry(isEmptyDir)
	if e == nil || over == nil || e.object.within(over.object) {
		return false
	}
	w.replace(e, over)
	return true
}

// move gives a name another place, which is free.
func (w *Workload) move(e *entry, parent *object, name string) {
	w.rename(e, parent, name)
	w.bury(grave{e.parent, e.name})
	e.parent.children--
	e.parent, e.name = parent, name
	parent.children++
}

// replace moves a name to the place of another one.
func (w *Workload) replace(e, over *entry) {
	w.rename(e, over.parent, over.name)
	w.fields.Target = over.object.fid
	w.fields.Payload = w.leave(over.object)
	over.object = e.object
	if e.object.isDir() {
		e.object.home = over
	}
	w.forget(e)
	w.bury(grave{e.parent, e.name})
}

// name fills in a record about a name.
func (w *Workload) name(t changelog.Type, e *entry) {
	w.fields.Type, w.fields.Target = t, e.object.fid
	w.fields.Parent, w.fields.Name = e.parent.fid, e.name
}

// change fills in a record about an object. The parent stays zero: servers leave
// anything there (ABI 10.7).
func (w *Workload) change(t changelog.Type, o *object, payload changelog.Flags) bool {
	w.fields.Type, w.fields.Target, w.fields.Payload = t, o.fid, payload
	return true
}

// rename fills in a record about a name that gets another place.
func (w *Workload) rename(e *entry, parent *object, name string) {
	w.fields.Type = changelog.TypeRenme
	w.fields.Parent, w.fields.Name = parent.fid, name
	w.fields.Source, w.fields.SourceParent, w.fields.SourceName = e.object.fid, e.parent.fid, e.name
}
