"""One session of a study, from the prepared data to the closed ledger."""
