// Package scatter is the stage behind the broker's loop: it cuts out of a batch
// what each delivery gets. It is pure, and one walk over the batch serves any number
// of deliveries.
package scatter
