"""The Hub: what goes there, what comes from there, and what can go wrong on the way. Needs no torch."""
