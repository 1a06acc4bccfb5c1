"""The making of the tables' rows: the definition of a kind of method, and the kinds."""
