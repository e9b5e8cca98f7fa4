"""Where outcomes are put for good, each with its place in the log in the same step: nothing twice, nothing lost."""
