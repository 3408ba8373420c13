package wire

import (
	"fmt"
	"math"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/lcapd/lcapd/changelog"
)

// Epoch counts how often an MDT began to count its indexes anew. Places of different epochs of one MDT
// cannot be compared.
type Epoch uint32

// DecodeMsgpack reads an epoch within a list. The library by itself cuts what does not fit.
func (e *Epoch) DecodeMsgpack(d *msgpack.Decoder) error {
	n, err := d.DecodeUint64()
	if err != nil {
		return err
	}
	if n > math.MaxUint32 {
		return fmt.Errorf("epoch %d is above %d", n, uint32(math.MaxUint32))
	}
	*e = Epoch(n)
	return nil
}

// Form is a set of record blocks, as a number: bits 0-15 are the format bits of the record's flags word,
// bits 16-31 the low bits of its extra-flags word. 0 stands for all blocks.
type Form uint32

// FormOf returns the form with the blocks of a record format. Extra bits from 16 up do not fit and are
// left out; none are known.
func FormOf(f changelog.Format) Form {
	return Form(f.Flags&changelog.FlagsFormat) | Form(f.Extra&0xffff)<<16
}

// Format returns the record format with the blocks of f: everything known for 0. Unknown bits of a
// request are left out.
func (f Form) Format() changelog.Format {
	if f == 0 {
		return changelog.FormatAll
	}
	return changelog.Format{
		Flags: changelog.Flags(f) & changelog.FlagsFormat,
		Extra: changelog.Extra(f>>16) & changelog.ExtraKnown,
	}
}

// Names returns the names of the blocks, separated by commas; "all" for 0, "none" for no block.
func (f Form) Names() string {
	names := f.Format().String()
	switch {
	case f == 0:
		return "all"
	case names == "":
		return "none"
	}
	return names
}
