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
	plain, durable := plainWorks(r.works)
	if len(plain) > 0 {
		fmt.Fprintf(out, "\nServer CPU per message, %s = 1.00:\n\n", baseline)
		r.ratios(out, plain, sample.perThousand, (*work).mostCPU)
	}
	if len(durable) > 0 {
		fmt.Fprintf(out, "\nOn disk before 250. Messages per second, %s = 1.00:\n\n", durableBaseline)
		r.ratios(out, durable, sample.perSecond, func(w *work) string { return fmt.Sprintf("≥ %.0f", w.times()) })
		fmt.Fprintf(out, "\nServer CPU per message, %s = 1.00:\n\n", durableBaseline)
		r.ratios(out, durable, sample.perThousand, (*work).mostCPU)
	}
	fmt.Fprint(out, "\nWhat was measured:\n\n")
	r.details(out)
}

// mostCPU is the goal for CPU, or for memory.
func (w *work) mostCPU() string {
	switch {
	case w.idle():
		return fmt.Sprintf("≤ %.0f", w.goal)
	case w.durable:
		return fmt.Sprintf("≤ %.3f", 1/w.times())
	}
	return fmt.Sprintf("≤ %.2f", w.goal)
}

// ratios prints a table of comparison: a line for each work, a column for each server, the goal at the end.
func (r *run) ratios(out io.Writer, works []*work, figure func(sample) float64, goal func(*work) string) {
	head, rule := "| work |", "|---|"
	var columns []*peer
	for _, p := range r.peers {
		if p.durable == works[0].durable {
			columns = append(columns, p)
			head += " " + p.name + " |"
			rule += "--:|"
		}
	}
	fmt.Fprintf(out, "%s goal |\n%s--:|\n", head, rule)
	for _, w := range works {
		fmt.Fprintf(out, "| %s: %s |", w.name, w.what)
		for _, p := range columns {
			fmt.Fprintf(out, " %s |", r.ratio(w, p, figure))
		}
		fmt.Fprintf(out, " %s |\n", goal(w))
	}
}

// ratio is the median, over the rounds, of a server's figure as a part of the baseline's in the same round. Rates move with what else
// the machine does; a ratio within a round moves much less.
func (r *run) ratio(w *work, p *peer, figure func(sample) float64) string {
	name := baseline
	if w.durable {
		name = durableBaseline
	}
	mine, base := r.samples[cell{w, p}], r.samples[cell{w, findPeer(name)}]
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
		list[i] = figure(mine[i]) / figure(base[i])
	}
	return fmt.Sprintf("%.2f", middle(list))
}

// details prints the figures that the ratios come from, a line for each work and server.
func (r *run) details(out io.Writer) {
	fmt.Fprintln(out, "| work | server | CPU ms per 1000 messages | (least–most) | messages/s | MB/s | server's core | load's core | server's MiB |")
	fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|")
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
		fmt.Sprintf(" %.0f", median(list, sample.perSecond)),
		fmt.Sprintf(" %.0f", median(list, func(s sample) float64 { return s.octets / 1e6 / s.wall.Seconds() })),
		fmt.Sprintf(" %.0f %%", median(list, func(s sample) float64 { return busy(s.cpu.Seconds(), s.wall.Seconds()) })),
		fmt.Sprintf(" %.0f %%", median(list, func(s sample) float64 { return busy(s.loadCPU.Seconds(), s.wall.Seconds()) })),
		fmt.Sprintf(" %.0f", median(list, func(s sample) float64 { return float64(s.memory) / 1024 })),
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
