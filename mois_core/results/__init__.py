"""Results of a session: the lesion report, pictures, colours, and scores against a truth."""
