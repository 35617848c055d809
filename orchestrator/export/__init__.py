"""A study's answer as a model to take away: trained, saved, loaded again and scored, with a card."""
