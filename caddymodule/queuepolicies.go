package caddymodule

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-esmtp/esmtp/relay/mtasts"
)

// stsPolicies are the MTA-STS policies that were looked up. They outlive a reload: who keeps us from asking again must not profit from it (RFC 8461
// §10.2).
var stsPolicies = mtasts.NewMemory(10_000)

// stsSwept is when policies were last thrown away, in Unix seconds.
var stsSwept atomic.Int64

const (
	stsPrefix = "esmtp/mta-sts"
	stsOld    = 366 * 24 * time.Hour // no policy is good for longer (RFC 8461 §3.2)
	stsAbsent = time.Hour            // how long not to look again for one that is not in the storage
	stsSweep  = 24 * time.Hour
)

// stsStorage keeps MTA-STS policies in Caddy's storage, so that they outlive a restart too, and in memory, so that it isn't asked for each message.
type stsStorage struct{ storage certmagic.Storage }

// Get implements mtasts.Cache. What can't be read, or has expired, is not there.
func (s stsStorage) Get(ctx context.Context, domain string) (e mtasts.Entry, ok bool) {
	if e, ok = stsPolicies.Get(ctx, domain); ok {
		return e, true
	}
	text, err := s.storage.Load(ctx, stsKey(domain))
	if err != nil || json.Unmarshal(text, &e) != nil || e.Policy.Mode > mtasts.ModeEnforce || !time.Now().Before(e.Expires) {
		e = mtasts.Entry{Expires: time.Now().Add(stsAbsent)} // of mode none, and for no record
	}
	stsPolicies.Put(ctx, domain, e)
	return e, true
}

// Put implements mtasts.Cache.
func (s stsStorage) Put(ctx context.Context, domain string, e mtasts.Entry) error {
	stsPolicies.Put(ctx, domain, e)
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := s.storage.Store(ctx, stsKey(domain), text); err != nil {
		return err
	}
	s.sweep(ctx)
	return nil
}

// sweep throws away what has expired for certain, once a day.
func (s stsStorage) sweep(ctx context.Context) {
	now := time.Now()
	last := stsSwept.Load()
	if now.Sub(time.Unix(last, 0)) < stsSweep || !stsSwept.CompareAndSwap(last, now.Unix()) {
		return
	}
	keys, _ := s.storage.List(ctx, stsPrefix, false)
	for _, key := range keys {
		if info, err := s.storage.Stat(ctx, key); err == nil && now.Sub(info.Modified) > stsOld {
			s.storage.Delete(ctx, key)
		}
	}
}

func stsKey(domain string) string { return stsPrefix + "/" + domain + ".json" }
