"""Two sides compared: which sides there are, how their samples are matched, and what is shown of them."""
