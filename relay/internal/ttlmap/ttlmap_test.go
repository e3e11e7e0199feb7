package ttlmap

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAValueIsThereUntilItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[string, int](10)
		m.Put("a", 1, time.Now().Add(time.Minute))
		m.Put("past", 2, time.Now())
		time.Sleep(time.Minute - 1)
		if v, ok := m.Get("a"); !ok || v != 1 {
			t.Error(v, ok)
		}
		time.Sleep(time.Nanosecond)
		if v, ok := m.Get("a"); ok {
			t.Error(v)
		}
		if v, ok := m.Get("past"); ok {
			t.Error(v)
		}
	})
}

func TestThereIsRoomForSoManyOnly(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for _, size := range []int{-1, 0, 1, 100} {
		m := New[int, int](size)
		for i := range 1000 {
			m.Put(i, i, later)
			if v, ok := m.Get(i); ok != (size > 0) || ok && v != i {
				t.Fatal(size, i, v, ok)
			}
			if m.Len() > max(size, 0) {
				t.Fatal(size, m.Len())
			}
		}
		m.Put(999, 1, later)
		if v, _ := m.Get(999); size > 0 && v != 1 {
			t.Error("not replaced")
		}
	}
}
