"""Downloads of selections and figures, and the link to a view."""
