"""Ours beside what a user would pick instead: one script a row, each a command of its own.

``python -m benchmarks`` runs them all and renders the table of docs/speed.md.
"""
