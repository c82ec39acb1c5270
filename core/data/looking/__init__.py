"""What a person sees of a data set before it is learned: rows, survey, audit."""
