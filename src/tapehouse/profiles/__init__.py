"""The composition root: the only modules that name concrete classes; one function for each command."""
