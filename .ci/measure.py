"""What a Caddy uses, and whether it is back where it was."""
import collections
import os
import re
import time

from kit import HOST, check, http

# By how much goroutines, file descriptors and the heap (in MiB) may differ from what they were after the warm-up, and by how much RSS may have
# grown: Go gives memory back to the system late.
GOROUTINES, FILES, HEAP, RSS = 10, 6, 8, 1.5


class Measure:
    """What a Caddy uses, after a garbage collection."""

    def __init__(self, caddy, admin):
        pprof = f"http://{HOST}:{admin}/debug/pprof/"
        heap = [int(re.search(rb"# HeapAlloc = (\d+)", http(pprof + "heap?gc=1&debug=1")).group(1)) for _ in range(3)]
        self.dump = http(pprof + "goroutine?debug=1").decode()
        self.goroutines, self.heap = int(re.search(r"total (\d+)", self.dump).group(1)), min(heap) >> 20
        self.files = len(os.listdir(f"/proc/{caddy.process.pid}/fd"))
        with open(f"/proc/{caddy.process.pid}/status") as f:
            self.rss = int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) >> 10

    def __str__(self):
        return f"{self.goroutines} goroutines, {self.files} file descriptors, heap {self.heap} MiB, RSS {self.rss} MiB"


def settle(caddy, admin, reached):
    """Measures until what is being ended has ended, or a minute has passed."""
    end = time.monotonic() + 60
    while True:
        m = Measure(caddy, admin)
        if reached(m) or time.monotonic() > end:
            return m
        time.sleep(1)


def steady(caddy, admin):
    """Measures when goroutines and file descriptors have stayed the same for some seconds."""
    seen = collections.deque(maxlen=10)

    def reached(m):
        seen.append((m.goroutines, m.files))
        return len(seen) == 10 and len(set(seen)) == 1

    return settle(caddy, admin, reached)


def is_back(before, after):
    return after.goroutines <= before.goroutines + GOROUTINES and after.files <= before.files + FILES


def compare(before, after):
    print(f"     before: {before}\n     after:  {after}")
    check("goroutines and file descriptors are back", is_back(before, after), after.dump)
    check("the heap is back", after.heap <= before.heap + HEAP)
    check("RSS is back", after.rss <= before.rss * RSS)
