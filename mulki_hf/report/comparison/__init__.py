"""Runs side by side: a comparison's numbers, tables, pictures and page, from their results alone."""
