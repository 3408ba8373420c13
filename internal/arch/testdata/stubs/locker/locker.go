package locker

import "sync"

type Box struct{ sync.Mutex }

type Alias = sync.Mutex
