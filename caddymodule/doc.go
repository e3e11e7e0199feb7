// Package caddymodule brings package esmtp into Caddy.
package caddymodule
