"""``rlkit train --seeds N``: the same run once a seed, each in a process and a run folder of its own."""
