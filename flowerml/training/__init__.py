"""Training: trainer, train step, optimizer groups, schedule, losses, mixup, EMA, callbacks and checkpoints."""
