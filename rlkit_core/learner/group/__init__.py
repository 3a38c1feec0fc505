"""Learners as a group: the one of this process, and what several elsewhere are to be asked."""
