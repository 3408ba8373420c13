package arch

import "fmt"

// An exception is a file that may break a rule, and why.
type exception struct{ file, why string }

// excuse removes the violations in the files of the table, and reports the rows that excuse nothing.
func excuse(found []violation, table []exception) []violation {
	stale := map[string]bool{}
	for _, row := range table {
		stale[row.file] = true
	}
	var left []violation
	for _, v := range found {
		if _, excused := stale[v.file]; excused {
			stale[v.file] = false
			continue
		}
		left = append(left, v)
	}
	for _, row := range table {
		if stale[row.file] {
			left = append(left, violation{row.file, 0, fmt.Sprintf("the table excuses this file (%s), but it needs no excuse: remove the row", row.why)})
		}
	}
	return left
}
