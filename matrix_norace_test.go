//go:build !race

package esmtp_test

const slowly = false
