package config

// Changes are the keys in which two configurations differ.
type Changes struct {
	// Live can change while the daemon runs: create_groups, log.level.
	Live []string
	// Fixed take effect at the next start.
	Fixed []string
}

// Diff compares the configuration that runs with another one.
func Diff(running, wanted *Config) Changes {
	var ch Changes
	for _, set := range settings {
		switch {
		case set.field.same(running, wanted):
		case set.live:
			ch.Live = append(ch.Live, set.key)
		default:
			ch.Fixed = append(ch.Fixed, set.key)
		}
	}
	return ch
}

// WithLive returns the configuration that runs after a reload: c with what can change
// live as wanted has it. Compare the next file with this one, so that what needs a new
// start stays known until there is one.
//
// Both are valid, and so is the result: no check crosses from what is live to what
// is not.
func (c *Config) WithLive(wanted *Config) *Config {
	next := *c
	for _, set := range settings {
		if set.live {
			set.field.copy(&next, wanted)
		}
	}
	return &next
}
