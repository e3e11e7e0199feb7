package caddymodule

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// moduleNames are the names of all modules in a namespace.
func moduleNames(namespace string) []string {
	var names []string
	for _, mod := range caddy.GetModules(namespace) {
		names = append(names, mod.ID.Name())
	}
	return names
}

// choices lists the names that a setting can have.
func choices[T any](m map[string]T) string {
	names := slices.Sorted(maps.Keys(m))
	return strings.TrimPrefix(strings.Join(names, ", "), ", ")
}

// didYouMean returns the end of an error about an unknown name: what was meant, if that can be guessed, else what there is.
func didYouMean(name string, names []string) string {
	best, least := "", 1+max(1, len(name)/3)
	for _, candidate := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate)); d < least {
			best, least = candidate, d
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	return "; there are " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

// distance is how many letters have to be put in, taken out, changed or swapped with the next one to make b of a.
func distance(a, b string) int {
	var before, last, row []int // the rows of the table, row for the first i letters of a
	for i := range len(a) + 1 {
		row = make([]int, len(b)+1)
		for j := range row {
			switch {
			case i == 0 || j == 0:
				row[j] = i + j
				continue
			case a[i-1] == b[j-1]:
				row[j] = last[j-1]
			default:
				row[j] = 1 + min(last[j-1], last[j], row[j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return row[len(b)]
}
