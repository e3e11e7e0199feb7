// Package ttlmap is a map that forgets: entries have an end, and there is room for so many of them only.
package ttlmap

import (
	"sync"
	"time"
)

// Map keeps up to a number of values, each until its time has come. Any goroutine may call it.
type Map[K comparable, V any] struct {
	size int
	mu   sync.Mutex
	m    map[K]entry[V]
}

type entry[V any] struct {
	value   V
	expires time.Time
}

// New makes a map with room for size values; none if size isn't positive.
func New[K comparable, V any](size int) *Map[K, V] {
	return &Map[K, V]{size: size, m: map[K]entry[V]{}}
}

// Get returns the value of k, unless it has none, or no longer.
func (m *Map[K, V]) Get(k K) (v V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.m[k]
	if !ok || !time.Now().Before(e.expires) {
		return v, false
	}
	return e.value, true
}

// Put gives k a value until expires. Another one may have to go for it.
func (m *Map[K, V]) Put(k K, v V, expires time.Time) {
	if m.size <= 0 || !time.Now().Before(expires) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.m[k]; !ok && len(m.m) >= m.size {
		m.makeRoom()
	}
	m.m[k] = entry[V]{v, expires}
}

// Len returns how many values there are, expired ones included.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.m)
}

// makeRoom drops what has expired among a few entries, or any one of them: a map gives them in random order, which is good enough, and
// costs the same however large the map is.
func (m *Map[K, V]) makeRoom() {
	now, looked := time.Now(), 0
	var some K
	for k, e := range m.m {
		if !now.Before(e.expires) {
			delete(m.m, k)
		}
		some = k
		if looked++; looked == 16 {
			break
		}
	}
	if len(m.m) >= m.size {
		delete(m.m, some)
	}
}
