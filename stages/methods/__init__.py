"""How rows of the tables are made: what a kind of method defines, and the kinds."""
