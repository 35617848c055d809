"""The memory of a study: events, the fenced ledger they are in, and the accounts that they add up to."""
