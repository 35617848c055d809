"""The page that says what a study found: ``report.html``, and the pieces that such pages are made of."""
