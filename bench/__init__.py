"""Benchmarks: each prints a table and a line `ratio NAME VALUE` for each figure, against a peer measured in the same run."""
