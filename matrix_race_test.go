//go:build race

package esmtp_test

// slowly says that the race detector makes everything ten times slower.
const slowly = true
