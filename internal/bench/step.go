package bench

import (
	"fmt"

	"github.com/lcapd/lcapd/internal/coreload"
)

// step measures what a step of lcapd's loop costs with many groups, MDTs and members, by what it costs
// with one of each. It runs in this process.
func (x *run) step() error {
	one, err := coreload.New(coreload.Size{Groups: 1, MDTs: 1, Members: 1, Batch: x.Size})
	if err != nil {
		return err
	}
	many, err := coreload.New(coreload.Size{Groups: x.Groups, MDTs: x.MDTs, Members: x.Members * x.Groups, Batch: x.Size})
	if err != nil {
		return fmt.Errorf("a core with so many members: %w", err)
	}
	costOne, costMany := coreload.Compare(one, many)
	x.m[StepOne], x.m[StepMany] = float64(costOne), float64(costMany)
	return nil
}
