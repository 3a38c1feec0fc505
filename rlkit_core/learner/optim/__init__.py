"""From gradients to steps: clipping, optimizers on flat buffers, learning-rate schedules."""
