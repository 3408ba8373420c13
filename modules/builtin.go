package modules

// Builtin returns the modules of this package. A new one is added to this list.
func Builtin() []Kind {
	return []Kind{Filter(), Coalesce(), Cancel(), Reorder(), Project(), Sample(), Rate()}
}
