"""Learners that are actors: where they are, what each gets, how they stay equal and come back after a failure."""
