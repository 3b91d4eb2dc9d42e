"""The report of a run: a page, figures, the table on the terminal."""
