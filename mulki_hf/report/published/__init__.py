"""What papers published of the benchmarks, and which of it a run's results stand beside. Needs no torch."""
