"""Losses: one file, one loss, one paper. They know torch and nothing else of the house."""
