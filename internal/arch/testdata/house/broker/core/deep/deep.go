// Package deep is as pure as what it lies in, so it must not import net.
package deep

import _ "net/http"
