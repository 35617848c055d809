"""How a selector got to its answer: a module per kind of thing that can be drawn from ledger and evidence."""
