package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
)

// report prints the tables, in Markdown.
func (r *run) report(out io.Writer) {
	fmt.Fprintf(out, "%s, %d cores; the server alone on one, the load on another; medians of %d rounds.\n\n",
		runtime.Version(), runtime.NumCPU(), r.rounds)
	for _, p := range r.peers {
		fmt.Fprintf(out, "- **%s**: %s\n", p.name, p.about())
	}
	for _, line := range r.left {
		fmt.Fprintf(out, "- %s\n", line)
	}
	fmt.Fprintf(out, "\nServer CPU per message, %s = 1.00:\n\n", baseline)
	r.ratios(out)
	fmt.Fprint(out, "\nWhat was measured:\n\n")
	r.details(out)
}

// ratios prints the table of comparison: a line for each work, a column for each server, the goal at the end.
func (r *run) ratios(out io.Writer) {
	head, rule := "| work |", "|---|"
	for _, p := range r.peers {
		head += " " + p.name + " |"
		rule += "--:|"
	}
	fmt.Fprintf(out, "%s goal |\n%s--:|\n", head, rule)
	for _, w := range r.works {
		fmt.Fprintf(out, "| %s: %s |", w.name, w.what)
		for _, p := range r.peers {
			fmt.Fprintf(out, " %s |", r.ratio(w, p))
		}
		if w.idle() {
			fmt.Fprintf(out, " ≤ %.0f |\n", w.goal)
		} else {
			fmt.Fprintf(out, " ≤ %.2f |\n", w.goal)
		}
	}
}

// ratio is the median, over the rounds, of a server's CPU per message as a part of the baseline's in the same round. Rates move
// with what else the machine does; a ratio within a round moves much less.
func (r *run) ratio(w *work, p *peer) string {
	mine, base := r.samples[cell{w, p}], r.samples[cell{w, findPeer(baseline)}]
	switch {
	case len(mine) == 0:
		return "–"
	case w.idle():
		return fmt.Sprintf("%.1f", median(mine, func(s sample) float64 { return s.idleKiB }))
	case len(base) != len(mine):
		return "–"
	}
	list := make([]float64, len(mine))
	for i := range mine {
		list[i] = mine[i].perThousand() / base[i].perThousand()
	}
	return fmt.Sprintf("%.2f", middle(list))
}

// details prints the figures that the ratios come from, a line for each work and server.
func (r *run) details(out io.Writer) {
	fmt.Fprintln(out, "| work | server | CPU ms per 1000 messages | (least–most) | messages/s | MB/s | server's core | load's core |")
	fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|--:|--:|")
	for _, w := range r.works {
		for _, p := range r.peers {
			if list := r.samples[cell{w, p}]; len(list) > 0 && !w.idle() {
				fmt.Fprintf(out, "| %s | %s |%s |\n", w.name, p.name, strings.Join(figures(list), " |"))
			}
		}
	}
}

func figures(list []sample) []string {
	least, most := list[0].perThousand(), list[0].perThousand()
	for _, s := range list {
		least, most = min(least, s.perThousand()), max(most, s.perThousand())
	}
	busy := func(cpu, wall float64) float64 { return 100 * cpu / wall }
	return []string{
		fmt.Sprintf(" %.2f", median(list, sample.perThousand)),
		fmt.Sprintf(" %.2f–%.2f", least, most),
		fmt.Sprintf(" %.0f", median(list, func(s sample) float64 { return s.messages / s.wall.Seconds() })),
		fmt.Sprintf(" %.0f", median(list, func(s sample) float64 { return s.octets / 1e6 / s.wall.Seconds() })),
		fmt.Sprintf(" %.0f %%", median(list, func(s sample) float64 { return busy(s.cpu.Seconds(), s.wall.Seconds()) })),
		fmt.Sprintf(" %.0f %%", median(list, func(s sample) float64 { return busy(s.loadCPU.Seconds(), s.wall.Seconds()) })),
	}
}

func median(list []sample, figure func(sample) float64) float64 {
	values := make([]float64, len(list))
	for i, s := range list {
		values[i] = figure(s)
	}
	return middle(values)
}

// middle returns the median. It sorts the list.
func middle(list []float64) float64 {
	slices.Sort(list)
	n := len(list)
	if n%2 == 1 {
		return list[n/2]
	}
	return (list[n/2-1] + list[n/2]) / 2
}
