"""An env is tried out before anything is trained in it: what a trainer would trip over, and the fix."""
