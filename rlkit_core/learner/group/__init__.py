"""Several learners as one: where they run, what each gets, how they stay equal and come back after a failure."""
