"""Per-user values, held-out ranks, student wins, rank discrepancy, significance."""
