package modules

import "github.com/lcapd/lcapd/changelog"

// Project cuts away all optional fields but those named, as Lustre's client library does it for its callers. Nothing that
// a record lacks is added.
func Project() Kind {
	return Kind{
		Name:    "project",
		Summary: "cuts away all optional fields but those named",
		Parse: func(o *Options, _ Use) (Factory, error) {
			fields := o.Strings("fields")
			want, err := changelog.ParseFormat(fields)
			switch {
			case !o.Set("fields"):
				o.Errorf("fields", "project needs the fields that stay; [] keeps none")
			case err != nil:
				o.Errorf("fields", "%v", err)
			case want.Pitfall() != "":
				o.Errorf("fields", "%s", want.Pitfall())
			}
			return func(Start) Module { return &project{want: want} }, nil
		},
	}
}

type project struct {
	Stateless
	want   changelog.Format
	packed []byte
}

// Push implements [Module].
func (m *project) Push(r changelog.Record, out *Out) {
	if f := r.Format(); f.Flags&^(m.want.Flags|changelog.FlagVersion) == 0 && f.Flags&changelog.FlagVersion != 0 && f.Extra&^m.want.Extra == 0 {
		out.Keep(r) // it has nothing else
		return
	}
	m.packed = r.AppendRepacked(m.packed[:0], m.want)
	out.Change(r, m.packed)
}
