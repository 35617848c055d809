"""What a study remembers: events, the fenced ledger they are in, and what they add up to."""
