"""The sections of a study's page, a module each, from the answer to how to do it again."""
