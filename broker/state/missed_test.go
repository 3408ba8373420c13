package state

import (
	"reflect"
	"testing"
	"time"
)

// What a group gave up, and its limits, are there after a new start.
func TestMissedIsStored(t *testing.T) {
	s := newStore(t, 1)
	check(t, s.Write(fullUpdate(1, 1, 100)))
	before := mustLoad(t, s)
	g, track := before.Groups[0], before.Tracks[0]
	at := time.Unix(1700000000, 5).UTC()
	g.Limits = Limits{Backlog: 7, Idle: time.Hour, Expire: true}
	track.Since = at
	track.Missed = []Missed{{Epoch: track.Epoch, From: 3, To: 9, At: at, Told: true}, {Epoch: track.Epoch, From: 20, To: 50, At: at}}
	check(t, s.Write(Update{Groups: []Group{g}, Tracks: []Track{track}}))
	check(t, s.Close())
	again, err := Open(s.dir)
	check(t, err)
	defer func() { check(t, again.Close()) }()
	after, err := again.Load()
	check(t, err)
	if got := after.Groups[0].Limits; got != g.Limits {
		t.Errorf("got %+v", got)
	}
	if got := after.Tracks[0]; !reflect.DeepEqual(got, track) {
		t.Errorf("got %+v, want %+v", got, track)
	}
	track.Missed[1].From = 50
	if err := again.Write(Update{Tracks: []Track{track}}); err == nil {
		t.Error("an empty range was taken")
	}
}
