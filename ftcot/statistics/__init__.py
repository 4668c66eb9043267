"""Intervals, paired tests, trends and verdicts, on plain arrays of right and wrong."""
