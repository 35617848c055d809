"""Where studies are kept: in a folder, or in an object store, and the few operations in which these differ."""
