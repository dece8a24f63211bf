"""Finished files without a suite: what one answers, what it answers for elsewhere, and why it does not agree."""
